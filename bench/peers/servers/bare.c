/* The limit: no server can do less. Writes one ready WebSocket text frame to every accepted connection for
 * each byte that comes in on the publish port, one system call each, and does nothing else. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 4096, MOST = 65536, PUBLISHERS = 16 };

static int clients[MOST], count;
static char *frame;
static size_t frame_bytes;

static int listen_anywhere(int *port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, BACKLOG)) exit(1);
    getsockname(listener, (struct sockaddr *)&address, &length);
    *port = ntohs(address.sin_port);
    return listener;
}

/* A client counts as connected once the kernel has it, so all that wait are taken before a broadcast. */
static void accept_all(int listener) {
    int one = 1, fd;
    while (count < MOST && (fd = accept(listener, NULL, NULL)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        clients[count++] = fd;
    }
}

static void broadcast(void) {
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (write(clients[i], frame, frame_bytes) == (ssize_t)frame_bytes)
            clients[kept++] = clients[i];
        else
            close(clients[i]);
    count = kept;
}

/* RFC 6455 section 5.2. */
static void make_frame(const char *payload) {
    size_t size = strlen(payload), head = size < 126 ? 2 : 4;
    frame = malloc(frame_bytes = head + size);
    frame[0] = (char)0x81;
    frame[1] = (char)(size < 126 ? size : 126);
    if (head == 4) {
        frame[2] = (char)(size >> 8);
        frame[3] = (char)size;
    }
    memcpy(frame + head, payload, size);
}

int main(int argc, char **argv) {
    if (argc != 2 || strlen(argv[1]) > 65535) return 2;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    make_frame(argv[1]);

    int client_port, publish_port, open = 2;
    struct pollfd fds[2 + PUBLISHERS] = {{.events = POLLIN}, {.events = POLLIN}};
    fds[0].fd = listen_anywhere(&client_port);
    fds[1].fd = listen_anywhere(&publish_port);
    printf("READY %d %d\n", client_port, publish_port);
    fflush(stdout);
    while (poll(fds, open, -1) > 0 || errno == EINTR) {
        accept_all(fds[0].fd);
        for (int i = 2; i < open; i++) {
            char asked[4096];
            ssize_t times = fds[i].revents ? read(fds[i].fd, asked, sizeof asked) : 0;
            for (ssize_t n = 0; n < times; n++) broadcast();
            if (fds[i].revents && times <= 0) {
                close(fds[i].fd);
                fds[i--] = fds[--open];
            }
        }
        int fd = open < 2 + PUBLISHERS ? accept(fds[1].fd, NULL, NULL) : -1;
        if (fd >= 0) fds[open++] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
    return 1;
}
