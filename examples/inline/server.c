/* A small web app in C: tells what its environment says. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *variable(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value ? value : otherwise;
}

int main(void) {
    int server = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(variable("PORT", "8080")))};
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(server, (struct sockaddr *)&address, sizeof address) || listen(server, 16)) {
        perror("cannot listen");
        return 1;
    }
    for (;;) {
        char request[4096], body[1024];
        int client = accept(server, NULL, NULL);
        if (client < 0 || read(client, request, sizeof request) < 0) {
            continue;
        }
        int length = snprintf(body, sizeof body, "{\"app\":\"%s\",\"flavour\":\"%s\",\"greeting\":\"%s\"}",
                              variable("SERVER_NAME", "?"), variable("FLAVOUR", "?"), variable("GREETING", "hello"));
        dprintf(client, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
                length, body);
        close(client);
    }
}
