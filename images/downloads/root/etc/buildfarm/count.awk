# Counts requests by kind and by what the cache had, as Prometheus reads it. Lines: KIND STATUS RECEIVED SENT, or "tick"
# once a second: then the counters are written.
BEGIN { write() }
$1 == "tick" {
  if (is_new) write()
  next
}
{
  known = $2 ~ /^(HIT|STALE|UPDATING|REVALIDATED)$/ ? "hit" : "miss"
  requests[$1 "\"," "result=\"" known] += 1
  received[$1] += $3
  sent[$1] += $4
  is_new = 1
}
function write(  key, half) {
  half = "/tmp/metrics.new"
  print "# TYPE buildfarm_downloads_requests_total counter" >half
  for (key in requests) printf "buildfarm_downloads_requests_total{kind=\"%s\"} %d\n", key, requests[key] >half
  print "# TYPE buildfarm_downloads_upstream_bytes_total counter" >half
  for (key in received) printf "buildfarm_downloads_upstream_bytes_total{kind=\"%s\"} %.0f\n", key, received[key] >half
  print "# TYPE buildfarm_downloads_sent_bytes_total counter" >half
  for (key in sent) printf "buildfarm_downloads_sent_bytes_total{kind=\"%s\"} %.0f\n", key, sent[key] >half
  close(half)
  system("mv /tmp/metrics.new /tmp/metrics")
  is_new = 0
}
