require "socket"
require "salute"

server = TCPServer.new("0.0.0.0", ENV.fetch("PORT"))
loop do
  client = server.accept
  while (line = client.gets) && line != "\r\n"; end
  body = "hello from salute #{Salute::VERSION}"
  client.write "HTTP/1.1 200 OK\r\nContent-Length: #{body.bytesize}\r\nConnection: close\r\n\r\n#{body}"
  client.close
end
