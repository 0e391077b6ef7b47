/* The limit: accept COUNT connections, then write SIZE bytes as one WebSocket text frame to each of them
 * for every byte that comes in on standard input, TIMES frames to each at once. Prints its port first. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int count = atoi(argv[1]), size = atoi(argv[2]), one = 1;
    (void)argc;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    bind(listener, (struct sockaddr *)&address, sizeof address);
    listen(listener, 4096);
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);

    int *clients = malloc(sizeof(int) * count);
    for (int i = 0; i < count; i++) {
        clients[i] = accept(listener, NULL, NULL);
        setsockopt(clients[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    char *frame = calloc(1, size + 4);
    frame[0] = (char)0x81;
    frame[1] = 126;
    frame[2] = (char)(size >> 8);
    frame[3] = (char)size;
    memset(frame + 4, 'x', size);

    char go;
    while (read(0, &go, 1) == 1)
        for (int i = 0; i < count; i++)
            if (write(clients[i], frame, size + 4) != size + 4) return 1;
    return 0;
}
