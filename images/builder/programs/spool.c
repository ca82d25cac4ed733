/* spool COMMAND [ARGUMENT...]: runs a command whose log (standard error, and standard output where it is the same) is always
 * taken at full speed, however slowly it is read behind the spool. Its exit code is the command's.
 *
 * A pipe that is full makes its writer wait, or fail where any program made the pipe non-blocking for all that share it, as
 * Node does. So the command has its own pipe: the spool empties it, and keeps as much as is kept of a log at all. Making
 * standard output or standard error non-blocking has no effect below it (the call succeeds); where that was done through
 * another descriptor, the spool makes the pipe block again whenever it looks. When more comes than is read, the oldest whole lines are dropped, and a line says so.
 * After a long flood it takes no more than FLOOD_BYTES_A_SECOND, for the sake of the processors. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PIPE_BYTES (1 << 20)
#ifndef KEPT_BYTES
#define KEPT_BYTES (64 << 20) /* more than the farm's bound of a log, so that a log within it is whole; unused pages cost nothing */
#endif
#define LINE_COST_BYTES 4 /* beside its length, as in the farm's own bound */
#define PIECE_BYTES (64 << 10)
#define REST_BYTES (8 << 10) /* of a line whose beginning is sent already */
#define FLOOD_BYTES (64LL << 20)
#define FLOOD_BYTES_A_SECOND 50000000LL
#define LOOK_MS 20
#define QUIET_MS 1000 /* after the command: others that hold its pipe say nothing for so long */
#define OTHERS_MS 5000 /* or are heard for so long */

/* What waits, a ring; and what is on its way out, which nothing is dropped of. */
static char ring[KEPT_BYTES];
static size_t start, used, lines;
static char out[PIECE_BYTES + REST_BYTES + 256];
static size_t out_sent, out_length;
static int within_line; /* what went out ends within a line */
static size_t dropped;
static int gap, skipping; /* something was dropped; and so is what comes before the next line */
static char last_dropped;
static int over; /* nothing more comes in */
static int out_file = 2;
static long long taken, credit_at;

static long long milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static size_t count_lines(const char *text, size_t length) {
    size_t found = 0;
    for (size_t n = 0; n < length; n++) found += text[n] == '\n';
    return found;
}

static size_t least(size_t one, size_t other) { return one < other ? one : other; }

/* The part of the ring that lies in one piece, from its start. */
static size_t together(void) { return least(used, KEPT_BYTES - start); }

static void advance(size_t length) {
    lines -= count_lines(ring + start, length);
    if (length) last_dropped = ring[start + length - 1];
    used -= length;
    start = used ? (start + length) % KEPT_BYTES : 0; /* the same pages again, unless the reader is behind */
}

/* Takes up to `most` bytes out of the ring, to the end of the first line or, with `all`, as much as there is. */
static size_t take(char *target, size_t most, int all) {
    size_t length = 0;
    while (used && length < most) {
        size_t piece = least(together(), most - length);
        char *end = all ? NULL : memchr(ring + start, '\n', piece);
        if (end) piece = end - (ring + start) + 1;
        if (target) memcpy(target + length, ring + start, piece);
        length += piece;
        advance(piece);
        if (end) break;
    }
    return length;
}

static int is_over(size_t more) { return used + more > KEPT_BYTES || used + more + lines * LINE_COST_BYTES > KEPT_BYTES; }

static void drop_oldest(void) {
    size_t before = lines;
    if (within_line && !gap) {
        /* The rest of a line goes where its beginning went: what is to be hidden is looked for in whole lines. */
        out_length += take(out + out_length, REST_BYTES, 0);
        within_line = out[out_length - 1] != '\n';
        before = lines;
    }
    for (size_t rest = least(used, used / 8 + PIECE_BYTES / 8); rest;) {
        size_t piece = least(together(), rest);
        advance(piece);
        rest -= piece;
    }
    take(NULL, KEPT_BYTES, 0);
    dropped += before - lines;
    gap = 1;
    skipping = last_dropped != '\n';
}

static void put(const char *text, size_t length) {
    size_t found = count_lines(text, length);
    while (used && is_over(length + found * LINE_COST_BYTES)) drop_oldest();
    if (skipping) {
        const char *end = memchr(text, '\n', length);
        if (!end) return;
        length -= end + 1 - text;
        text = end + 1;
        skipping = 0;
        dropped++, found--;
    }
    for (size_t done = 0; done < length;) {
        size_t end = (start + used) % KEPT_BYTES, piece = least(length - done, KEPT_BYTES - end);
        memcpy(ring + end, text + done, piece);
        used += piece;
        done += piece;
    }
    lines += found;
}

/* Fills what goes out next: the news of a gap, and what came behind it. */
static void prepare(void) {
    out_sent = out_length = 0;
    if (gap && (used || over)) {
        out_length = snprintf(out, 256, "%s[%zu lines are missing here: they came faster than they could be stored]\n",
                              within_line ? "\n" : "", dropped + skipping);
        dropped = gap = skipping = 0;
    }
    out_length += take(out + out_length, PIECE_BYTES, 1);
    if (out_length) within_line = out[out_length - 1] != '\n';
}

static void send_out(void) {
    if (out_sent == out_length) prepare();
    if (out_sent == out_length) return;
    ssize_t sent = write(out_file, out + out_sent, out_length - out_sent);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) sent = out_length - out_sent; /* nobody reads it now */
    if (sent > 0) out_sent += sent;
}

static int is_waiting(void) { return used || out_sent < out_length || (gap && over); }

static int is_too_fast(void) {
    long long now = milliseconds();
    taken -= (now - credit_at) * (FLOOD_BYTES_A_SECOND / 1000);
    if (taken < 0) taken = 0;
    credit_at = now;
    return taken > FLOOD_BYTES;
}

static void set_blocking(int file, int blocking) {
    int flags = fcntl(file, F_GETFL);
    int wanted = blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
    if (flags >= 0 && flags != wanted) fcntl(file, F_SETFL, wanted);
}

/* Whether there is more to come: 1 something was read, 0 nothing is there now, -1 nobody has the pipe open. */
static int read_in(int from) {
    static char piece[PIECE_BYTES];
    ssize_t length = read(from, piece, sizeof piece);
    if (length == 0) return -1;
    if (length < 0) return 0;
    taken += length;
    put(piece, length);
    return 1;
}

static int is_log_too(void) {
    struct stat one, other;
    return !fstat(1, &one) && !fstat(2, &other) && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#define ARCHITECTURE 0
#endif
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF_EQUAL(value, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, then, otherwise)

/* fcntl(1 or 2, F_SETFL, O_NONBLOCK) and ioctl(1 or 2, FIONBIO) succeed and do nothing, here and in all children. Where the
 * kernel refuses the filter, the spool still makes the pipe block again. */
static void keep_blocking(void) {
    struct sock_filter steps[] = {
        LOAD(arch),
        IF_EQUAL(ARCHITECTURE, 0, 14),
        LOAD(nr),
        IF_EQUAL(SYS_fcntl, 1, 0),
        IF_EQUAL(SYS_ioctl, 5, 11),
        LOAD(args[1]),
        IF_EQUAL(F_SETFL, 0, 9),
        LOAD(args[2]),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_NONBLOCK, 0, 7),
        BPF_JUMP(BPF_JMP | BPF_JA, 2, 0, 0),
        LOAD(args[1]),
        IF_EQUAL(FIONBIO, 0, 4),
        LOAD(args[0]),
        IF_EQUAL(1, 1, 0),
        IF_EQUAL(2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof steps / sizeof *steps, steps};
    if (!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static void become(char **arguments, int log, const sigset_t *mask) {
    if (is_log_too()) dup2(log, 1);
    dup2(log, 2);
    keep_blocking();
    sigprocmask(SIG_SETMASK, mask, NULL);
    if (strchr(arguments[0], '/')) execv(arguments[0], arguments);
    else execvp(arguments[0], arguments);
    if (errno == ENOEXEC) {
        /* A script whose first line names no interpreter: as bash itself would run it. The place before it is ours. */
        arguments[-1] = "bash";
        execv("/bin/bash", arguments - 1);
    }
    int code = errno == ENOENT ? 127 : 126;
    perror(arguments[0]);
    _exit(code);
}

/* Takes what processes of the background still write, for they would die of a closed pipe. */
static void drain(int from) {
    static char piece[PIECE_BYTES];
    if (fork()) return;
    for (int file = 0; file < 3; file++) close(file);
    close(out_file);
    set_blocking(from, 1);
    while (read(from, piece, sizeof piece) > 0) usleep(500);
    _exit(0);
}

int main(int count, char **arguments) {
    int ends[2], status = 0, eof = 0;
    long long ended_at = 0, heard_at = 0;
    sigset_t child, before;
    struct signalfd_siginfo told;
    if (count < 2 || pipe2(ends, O_CLOEXEC)) return 71;
    /* As large as the kernel allows this user: it is what a writer has until the spool has looked. */
    for (int size = PIPE_BYTES; fcntl(ends[0], F_SETPIPE_SZ, size) < 0 && size > 65536;) size /= 2;
    signal(SIGCHLD, SIG_DFL); /* ignored, the command would never be reported as ended */
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &before);
    int signals = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
    pid_t command = fork();
    if (command < 0) return 71;
    if (!command) become(arguments + 1, ends[1], &before);
    signal(SIGPIPE, SIG_IGN);
    close(0);
    set_blocking(ends[0], 0);
    /* Under a number that another spool above this one leaves alone */
    out_file = fcntl(2, F_DUPFD_CLOEXEC, 10);
    set_blocking(out_file, 0);
    credit_at = milliseconds();
    while (!over || is_waiting()) {
        int held = is_too_fast();
        struct pollfd files[] = {{over || held ? -1 : ends[0], POLLIN, 0},
                                 {is_waiting() ? out_file : -1, POLLOUT, 0},
                                 {ended_at ? -1 : signals, POLLIN, 0}};
        poll(files, 3, held ? 5 : LOOK_MS);
        if (!ended_at) set_blocking(ends[1], 1);
        if (files[0].revents) {
            int more = read_in(ends[0]);
            if (more > 0) heard_at = milliseconds();
            eof = over = more < 0;
        }
        if (files[1].revents) send_out();
        /* Taken out, or the poll would never wait again: a command that only stops hears too. */
        if (files[2].revents) (void)!read(signals, &told, sizeof told);
        if (!ended_at && files[2].revents && waitpid(command, &status, WNOHANG) == command) {
            heard_at = ended_at = milliseconds();
            close(ends[1]);
        }
        if (ended_at && !over) {
            long long now = milliseconds();
            over = now - heard_at > QUIET_MS || now - ended_at > OTHERS_MS;
        }
    }
    set_blocking(out_file, 1);
    if (!eof) drain(ends[0]);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
