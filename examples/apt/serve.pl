# Answers with what the package says.
use strict;
use warnings;
use utf8;
use Encode;
use IO::Socket::INET;
use Text::Unidecode;

my $server = IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => $ENV{PORT}, Listen => 16, ReuseAddr => 1)
    or die "cannot listen: $!";
while (my $client = $server->accept) {
    while (defined(my $line = <$client>)) { last if $line =~ /^\r?\n$/ }
    my $greeting = unidecode(decode_utf8($ENV{GREETING} // 'hello'));
    open(my $cow, '-|', 'cowsay', $greeting) or die "no cow: $!";
    my $body = do { local $/; <$cow> };
    print $client "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " . length($body)
        . "\r\nConnection: close\r\n\r\n$body";
    close $client;
}
