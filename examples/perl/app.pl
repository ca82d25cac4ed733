# A small web app on core modules alone: tells what runs it.
use strict;
use warnings;
use IO::Socket::INET;
use JSON::PP qw(encode_json);

my $server = IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => $ENV{PORT}, Listen => 16, ReuseAddr => 1)
    or die "cannot listen: $!";
while (my $client = $server->accept) {
    while (defined(my $line = <$client>)) { last if $line =~ /^\r?\n$/ }
    my $body = encode_json({app => 'perl', version => sprintf('%vd', $^V), greeting => $ENV{GREETING} // 'hello'});
    print $client "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " . length($body)
        . "\r\nConnection: close\r\n\r\n$body";
    close $client;
}
