use strict;
use warnings;
use IO::Socket::INET;
use Salute;

my $server = IO::Socket::INET->new(LocalAddr => "0.0.0.0", LocalPort => $ENV{PORT}, Listen => 5, ReuseAddr => 1) or die "$!";
while (my $client = $server->accept) {
    while (defined(my $line = <$client>)) { last if $line eq "\r\n" }
    my $body = "hello from salute $Salute::VERSION";
    print $client "HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body";
    close $client;
}
