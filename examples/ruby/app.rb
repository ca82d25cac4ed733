# A small web app on the standard library alone: tells what runs it.
require "json"
require "socket"
require "greeting"

server = TCPServer.new("0.0.0.0", Integer(ENV.fetch("PORT")))
trap("TERM") { exit }
puts "listening"
$stdout.flush
loop do
  client = server.accept
  nil until client.gets.to_s.strip.empty?
  body = JSON.generate(app: "ruby", version: RUBY_VERSION, greeting: Greeting.text)
  client.print "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: #{body.bytesize}\r\nConnection: close\r\n\r\n#{body}"
  client.close
end
