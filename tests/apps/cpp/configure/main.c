#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"


int main(void) {
  const char *port = getenv("PORT");
  struct sockaddr_in address = {0};
  int yes = 1, listening = socket(AF_INET, SOCK_STREAM, 0);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  address.sin_port = htons(atoi(port ? port : "8080"));
  setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(listening, (struct sockaddr *)&address, sizeof address) || listen(listening, 16)) {
    perror("listen");
    return 1;
  }
  for (;;) {
    char request[4096], answer[512];
    int client = accept(listening, NULL, NULL);
    if (client < 0 || read(client, request, sizeof request) < 0) continue;
    snprintf(answer, sizeof answer, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n%s\n", "hello from configure with " WORD);
    if (write(client, answer, strlen(answer)) < 0) perror("write");
    close(client);
  }
}
