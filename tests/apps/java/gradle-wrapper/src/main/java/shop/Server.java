package shop;

import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;

class Server {
    public static void main(String[] arguments) throws IOException {
        byte[] greeting = Server.class.getResourceAsStream("/greeting.txt").readAllBytes();
        HttpServer server = HttpServer.create(new InetSocketAddress("0.0.0.0", Integer.parseInt(System.getenv("PORT"))), 0);
        server.createContext("/", exchange -> {
            byte[] answer = (new String(greeting).strip() + " from Java " + Runtime.version().feature()).getBytes();
            exchange.sendResponseHeaders(200, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        server.start();
    }
}
