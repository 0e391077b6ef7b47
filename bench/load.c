/* Many clients in one process, for a load that is never the bottleneck: epoll and recv, no parsing. A message
 * is counted by its mark, a byte that each payload holds once, behind a letter. The same byte behind anything
 * else is the length of some frame, such as a ping's.
 *
 * load ADDRESS MARK LOST_MS: commands come in on standard input, each a line, some with bytes behind it; each
 * is answered by one line. Times are CLOCK_MONOTONIC in nanoseconds. After LOST_MS without a mark or an
 * answer a message counts as lost, whatever else (such as heartbeats) still comes.
 *
 *   open COUNT PORT IN_FLIGHT STEPS        connect COUNT more clients, at most IN_FLIGHT at once. For each step a
 *                                          line `REQUEST_BYTES WAIT_BYTES OWN` with the request (with OWN = 1
 *                                          one after the other for each client) and what to wait for behind it
 *     -> opened COUNT REFUSED NANOSECONDS
 *   receive BYTES                          clients opened from now on have a receive buffer of so many bytes, which
 *                                          does not grow; 0: as the kernel likes
 *     -> done
 *   publisher PORT ANSWERED COUNT          connect to publish; COUNT times a line `BYTES` and the bytes: what is
 *                                          sent in turn. ANSWERED = 1: an HTTP answer comes for each
 *     -> ready
 *   run MS RATE EACH TOTAL SLEEPS          publish for MS milliseconds. RATE 0: the next when all have the one
 *                                          before; otherwise RATE times a second whatever happens. Every client
 *                                          gets EACH marks of a publish; with EACH = 0 all together get TOTAL.
 *                                          SLEEPS = 1: wait in the kernel for events; otherwise ask without end
 *     -> ran PUBLISHES MARKS NANOSECONDS BUSY_NANOSECONDS, and a line of latencies in nanoseconds, from the
 *        moment a publish was due to its last mark
 *   wait EACH MS                           until each client has EACH marks in all, or so long
 *     -> waited LACKING NANOSECONDS
 *   settle MS                              until each client, were it frozen or not, has what was published in
 *                                          runs since it was opened; no more may come
 *     -> settled LACKING EXCESSIVE NANOSECONDS
 *   exactly EACH MS                        until each client has EACH marks in all, those of its opening too, and
 *                                          nothing more comes
 *     -> exactly LACKING EXCESSIVE NANOSECONDS, the time without the silence at the end
 *   freeze COUNT | thaw                    the first COUNT clients read nothing and count for nothing
 *   send BYTES                             the same bytes, which follow, from every client
 *   close                                  reset every connection, the publisher's too
 *     -> done
 *
 * Whatever goes wrong ends it with a line `failed …`. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 65536, STEPS = 4, PUBLISHES = 65536, EVENTS = 1024, HEARD = 4096, BUFFER = 1 << 18, SOURCES = 16 };
struct client {
    int fd, step, heard, frozen;
    unsigned char last; /* byte that was read */
    long marks, ever; /* of this run; since it was opened, with what had been published before that */
    char *tail; /* what was heard during the current step of the opening */
};
struct step {
    char *request, *wait_for;
    int request_bytes, wait_bytes, own;
};

static struct client clients[MOST];
static struct step steps[STEPS];
static int count, frozen, poller, step_count, mark, lost_ms, receive_bytes;
static char *blobs[PUBLISHES], buffer[BUFFER];
static int blob_bytes[PUBLISHES], blob_count, publisher = -1, answered, answers_due;
static long total_marks;                       /* of clients that are not frozen */
static long answers;                           /* that the publisher had */
static long *reached, reached_size, due_each;  /* how many clients have all marks of a publish of this run */
static long published_ever;                    /* marks that a client opened first should have */
static struct in_addr address;

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("failed ");
    vprintf(format, arguments);
    printf("\n");
    fflush(stdout);
    exit(1);
}

static long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

static long busy(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

static char *read_bytes(long size) {
    char *bytes = malloc(size + 1);
    if (!bytes || fread(bytes, 1, size, stdin) != (size_t)size) fail("standard input ended");
    bytes[size] = 0;
    return bytes;
}

static void read_line(char *line, int size) {
    if (!fgets(line, size, stdin)) exit(0);
}

static int connect_to(int port, int number) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    if (fd < 0) fail("no socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (receive_bytes) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = address};
    if (ntohl(address.s_addr) >> 24 == 127) { /* several sources, so that ports do not run out */
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        struct sockaddr_in own = {.sin_family = AF_INET};
        own.sin_addr.s_addr = htonl(INADDR_LOOPBACK + number % SOURCES);
        bind(fd, (struct sockaddr *)&own, sizeof own);
    }
    if (connect(fd, (struct sockaddr *)&peer, sizeof peer) < 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

static void write_all(int fd, const char *bytes, long size) {
    while (size > 0) {
        long written = send(fd, bytes, size, MSG_NOSIGNAL);
        if (written < 0 && errno != EAGAIN) fail("the server closed a connection: %s", strerror(errno));
        if (written < 0) {
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            if (poll(&wait, 1, lost_ms) <= 0) fail("the server reads nothing more");
            continue;
        }
        bytes += written;
        size -= written;
    }
}

static void reset(int fd) {
    struct linger now_or_never = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now_or_never, sizeof now_or_never);
    close(fd);
}

static long count_marks(struct client *client, const char *bytes, long size) {
    long marks = 0;
    for (const char *at = bytes, *end = bytes + size; (at = memchr(at, mark, end - at)); at++) {
        unsigned char before = at > bytes ? at[-1] : client->last;
        marks += before >= ' ' && before < 126;
    }
    client->last = bytes[size - 1];
    return marks;
}

/* --- opening ------------------------------------------------------------------------------------------- */

static void send_step(struct client *client, int index) {
    struct step *step = &steps[client->step];
    long offset = step->own ? (long)index * step->request_bytes : 0;
    write_all(client->fd, step->request + offset, step->request_bytes);
    client->heard = 0;
}

/* Whether the client goes on: 1 when it has done all steps, 0 while it has not, -1 when it was refused. */
static int hear_step(struct client *client, int index) {
    struct step *step = &steps[client->step];
    errno = 0;
    if (client->heard == HEARD - 1) {
        memmove(client->tail, client->tail + HEARD / 2, HEARD / 2);
        client->heard -= HEARD / 2;
    }
    long size = recv(client->fd, client->tail + client->heard, HEARD - 1 - client->heard, 0);
    if (size < 0 && errno == EAGAIN) return 0;
    if (size <= 0) return -1;
    client->marks += count_marks(client, client->tail + client->heard, size); /* what one that resumes has missed */
    client->heard += size;
    if (!memmem(client->tail, client->heard, step->wait_for, step->wait_bytes)) return 0;
    if (++client->step == step_count) return 1;
    send_step(client, index);
    return 0;
}

static void forget_steps(void) {
    for (int i = 0; i < step_count; i++) {
        free(steps[i].request);
        free(steps[i].wait_for);
    }
}

static void open_clients(int wanted, int port, int in_flight) {
    int first = count, asked = 0, open = 0, refused = 0, limit = first + wanted;
    if (limit > MOST) fail("at most %d clients", MOST);
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN | EPOLLOUT | EPOLLET};
    long begun = now(), heard_at = begun;
    int *done = calloc(wanted, sizeof *done);
    while (open + refused < wanted) {
        while (asked < wanted && asked - open - refused < in_flight) {
            struct client *client = &clients[first + asked];
            *client = (struct client){.fd = connect_to(port, first + asked), .step = -1};
            if (client->fd < 0) {
                refused++;
            } else {
                client->tail = malloc(HEARD);
                event.data.u32 = first + asked;
                epoll_ctl(poller, EPOLL_CTL_ADD, client->fd, &event);
            }
            asked++;
        }
        int ready = epoll_wait(poller, events, EVENTS, 1000);
        if (ready > 0) heard_at = now();
        if (now() - heard_at > lost_ms * 1000000L) fail("%d of %d clients were not served", wanted - open, wanted);
        for (int i = 0; i < ready; i++) {
            int number = events[i].data.u32, state = 0;
            struct client *client = &clients[number];
            if (number < first || number >= limit || client->fd < 0 || done[number - first]) continue;
            if (client->step < 0 && events[i].events & (EPOLLERR | EPOLLHUP)) state = -1;
            if (state == 0 && client->step < 0 && events[i].events & EPOLLOUT) {
                client->step = 0;
                if (step_count == 0) state = 1;
                else send_step(client, number - first);
            }
            while (state == 0 && client->step >= 0 && events[i].events & EPOLLIN) {
                int before = client->step;
                state = hear_step(client, number - first);
                if (state == 0 && client->step == before && errno == EAGAIN) break;
            }
            if (state == 0) continue;
            free(client->tail);
            client->tail = NULL;
            done[number - first] = 1;
            if (state > 0) {
                open++;
            } else {
                reset(client->fd);
                client->fd = -1;
                refused++;
            }
        }
    }
    long took = now() - begun, zero = 0;
    for (int i = first; i < limit; i++) { /* from now on only reading matters */
        if (clients[i].fd < 0) continue;
        setsockopt(clients[i].fd, IPPROTO_TCP, TCP_QUICKACK, &zero, sizeof(int)); /* ACKs are delayed, as usual */
        clients[count] = clients[i];
        clients[count].ever = published_ever;
        event = (struct epoll_event){.events = EPOLLIN, .data.u32 = count};
        epoll_ctl(poller, EPOLL_CTL_MOD, clients[count++].fd, &event);
    }
    free(done);
    printf("opened %d %d %ld\n", open, refused, took);
}

/* --- reading ------------------------------------------------------------------------------------------- */

static void note_marks(struct client *client, long marks) {
    if (due_each)
        for (long have = client->marks / due_each + 1; have <= (client->marks + marks) / due_each; have++)
            if (have <= reached_size) reached[have - 1]++;
    client->marks += marks;
    client->ever += marks;
    total_marks += marks;
}

static void hear(struct client *client) {
    if (client->frozen) { /* the server has given up on it */
        epoll_ctl(poller, EPOLL_CTL_DEL, client->fd, NULL);
        return;
    }
    long size = recv(client->fd, buffer, BUFFER, 0), marks = 0;
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) fail("the server closed a connection");
    marks = count_marks(client, buffer, size);
    if (marks) note_marks(client, marks);
}

static void hear_answer(void) {
    long size = recv(publisher, buffer, BUFFER - 1, 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) fail("the server closed the publisher's connection");
    buffer[size] = 0;
    for (char *at = buffer; answered && (at = strstr(at, "HTTP/1.1 ")); at++) {
        if (at[9] != '2') fail("a publish was answered %.200s", at);
        answers_due--;
        answers++;
    }
}

/* Read what is there, or wait for it at most so long. */
static int listen_for(int ms) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(poller, events, EVENTS, ms);
    for (int i = 0; i < ready; i++) {
        if (events[i].data.u32 == MOST) hear_answer();
        else hear(&clients[events[i].data.u32]);
    }
    return ready;
}

/* --- publishing ---------------------------------------------------------------------------------------- */

static int by_size(const void *left, const void *right) {
    long difference = *(const long *)left - *(const long *)right;
    return difference < 0 ? -1 : difference > 0;
}

/* Milliseconds that a run may sleep: until a publish is due, or for a moment while it waits for messages. */
static int patience(double rate, long next) {
    long left = rate > 0 ? (next - now()) / 1000000 : 10;
    return left < 0 ? 0 : left > 10 ? 10 : left;
}

static void run(long ms, double rate, long each, long total, int sleeps) {
    long most = rate > 0 ? (long)(ms / 1000.0 * rate) + 2 : 1000000, published = 0, finished = 0;
    long *due = calloc(most, sizeof *due), *latency = calloc(most, sizeof *latency);
    long readers = count - frozen, marks_before = total_marks, begun = now(), busy_before = busy();
    free(reached);
    reached = calloc(most, sizeof *reached);
    reached_size = most;
    due_each = each;
    for (int i = 0; i < count; i++) clients[i].marks = 0;
    long heard_at = begun, until = begun + ms * 1000000L, next = begun, signs = total_marks + answers;
    while (finished < published || (now() < until && published < most)) {
        int may_publish = now() < until && published < most;
        if (may_publish && (rate > 0 ? now() >= next : finished == published && answers_due <= 0)) {
            due[published] = rate > 0 ? next : now();
            write_all(publisher, blobs[published % blob_count], blob_bytes[published % blob_count]);
            answers_due += answered;
            published++;
            if (rate > 0) next = begun + (long)(published * 1e9 / rate);
        }
        /* Unless told so it never sleeps, so that no server pays for waking it. */
        listen_for(sleeps ? patience(rate, next) : 0);
        if (total_marks + answers != signs || finished == published) heard_at = now();
        signs = total_marks + answers;
        while (finished < published && (each ? reached[finished] >= readers
                                             : total_marks - marks_before >= (finished + 1) * total)) {
            latency[finished] = now() - due[finished];
            finished++;
        }
        if (finished < published && now() - heard_at > lost_ms * 1000000L)
            fail("%ld of %ld publishes did not reach everyone: a message was lost", published - finished, published);
    }
    long took = now() - begun, used = busy() - busy_before;
    while (answers_due > 0)
        if (!listen_for(lost_ms)) fail("a publish was never answered");
    while (listen_for(50) > 0) continue; /* is there anything too many? */
    published_ever += published * each;
    long marks = total_marks - marks_before;
    if (marks != (each ? published * each * readers : published * total))
        fail("%ld marks came instead of %ld: something was repeated", marks, each ? published * each * readers : published * total);
    for (int i = 0; each && i < count; i++)
        if (!clients[i].frozen && clients[i].marks != published * each)
            fail("a client got %ld messages instead of %ld", clients[i].marks, published * each);
    printf("ran %ld %ld %ld %ld\n", published, marks, took, used);
    qsort(latency, published, sizeof *latency, by_size);
    for (long i = 0; i < published; i++) printf("%ld ", latency[i]);
    printf("\n");
    free(due);
    free(latency);
}

static void wait_for_each(long each, long ms) {
    long begun = now(), lacking = 1;
    while (lacking && now() - begun < ms * 1000000L) {
        listen_for(10);
        lacking = 0;
        for (int i = 0; i < count; i++)
            if (!clients[i].frozen && clients[i].marks < each) lacking++;
    }
    printf("waited %ld %ld\n", lacking, now() - begun);
}

static void settle(long ms) {
    long begun = now();
    int lacking = 1, excessive = 0, quiet = 0;
    while ((lacking || !quiet) && now() - begun < ms * 1000000L) {
        quiet = listen_for(50) == 0;
        lacking = excessive = 0;
        for (int i = 0; i < count; i++) {
            lacking += clients[i].ever < published_ever;
            excessive += clients[i].ever > published_ever;
        }
    }
    printf("settled %d %d %ld\n", lacking, excessive, now() - begun);
}

static void exactly(long each, long ms) {
    long begun = now(), took = 0;
    int lacking = 1, excessive = 0, quiet = 0;
    while ((lacking || !quiet) && now() - begun < ms * 1000000L) {
        quiet = listen_for(lacking ? 5 : 200) == 0;
        lacking = excessive = 0;
        for (int i = 0; i < count; i++) {
            lacking += clients[i].marks < each;
            excessive += clients[i].marks > each;
        }
        if (lacking || !took) took = now() - begun;
    }
    printf("exactly %d %d %ld\n", lacking, excessive, took);
}

static void set_frozen(int wanted) {
    frozen = wanted;
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = i < wanted ? 0 : EPOLLIN, .data.u32 = i};
        clients[i].frozen = i < wanted;
        epoll_ctl(poller, EPOLL_CTL_MOD, clients[i].fd, &event);
    }
    printf("done\n");
}

/* --- commands ------------------------------------------------------------------------------------------ */

static void command_open(const char *line) {
    int wanted, port, in_flight, number;
    char head[256];
    if (sscanf(line, "open %d %d %d %d", &wanted, &port, &in_flight, &number) != 4) fail("open?");
    if (number > STEPS) fail("at most %d steps", STEPS);
    step_count = number;
    for (int i = 0; i < number; i++) {
        struct step *step = &steps[i];
        read_line(head, sizeof head);
        if (sscanf(head, "%d %d %d", &step->request_bytes, &step->wait_bytes, &step->own) != 3) fail("step?");
        step->request = read_bytes(step->own ? (long)step->request_bytes * wanted : step->request_bytes);
        step->wait_for = read_bytes(step->wait_bytes);
    }
    open_clients(wanted, port, in_flight);
    forget_steps();
}

static void command_publisher(const char *line) {
    int port;
    char head[256];
    for (int i = 0; i < blob_count; i++) free(blobs[i]);
    if (sscanf(line, "publisher %d %d %d", &port, &answered, &blob_count) != 3 || blob_count > PUBLISHES)
        fail("publisher?");
    for (int i = 0; i < blob_count; i++) {
        read_line(head, sizeof head);
        blob_bytes[i] = atoi(head);
        blobs[i] = read_bytes(blob_bytes[i]);
    }
    if (publisher >= 0) close(publisher);
    publisher = connect_to(port, 0);
    struct pollfd wait = {.fd = publisher, .events = POLLOUT};
    if (publisher < 0 || poll(&wait, 1, lost_ms) <= 0) fail("no connection to publish");
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = MOST};
    epoll_ctl(poller, EPOLL_CTL_ADD, publisher, &event);
    answers_due = 0;
    printf("ready\n");
}

static void command_send(const char *line) {
    int size = atoi(line + 5);
    char *bytes = read_bytes(size);
    for (int i = 0; i < count; i++) write_all(clients[i].fd, bytes, size);
    free(bytes);
    printf("done\n");
}

static void command_close(void) {
    for (int i = 0; i < count; i++) reset(clients[i].fd);
    if (publisher >= 0) reset(publisher);
    publisher = -1;
    count = frozen = 0;
    total_marks = published_ever = 0;
    printf("done\n");
}

int main(int argc, char **argv) {
    char line[512];
    struct rlimit files;
    if (argc != 4 || !inet_aton(argv[1], &address)) return 2;
    mark = argv[2][0];
    lost_ms = atoi(argv[3]);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(0);
    while (fgets(line, sizeof line, stdin)) {
        long ms, each, total;
        double rate;
        int sleeps;
        if (!strncmp(line, "open ", 5)) command_open(line);
        else if (!strncmp(line, "publisher ", 10)) command_publisher(line);
        else if (sscanf(line, "run %ld %lf %ld %ld %d", &ms, &rate, &each, &total, &sleeps) == 5)
            run(ms, rate, each, total, sleeps);
        else if (sscanf(line, "wait %ld %ld", &each, &ms) == 2) wait_for_each(each, ms);
        else if (sscanf(line, "settle %ld", &ms) == 1) settle(ms);
        else if (sscanf(line, "exactly %ld %ld", &each, &ms) == 2) exactly(each, ms);
        else if (sscanf(line, "receive %d", &receive_bytes) == 1) printf("done\n");
        else if (!strncmp(line, "freeze ", 7)) set_frozen(atoi(line + 7));
        else if (!strncmp(line, "thaw", 4)) set_frozen(0);
        else if (!strncmp(line, "send ", 5)) command_send(line);
        else if (!strncmp(line, "close", 5)) command_close();
        else fail("what is %s", line);
        fflush(stdout);
    }
    return 0;
}
