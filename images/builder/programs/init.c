/* init COMMAND [ARGUMENT...]: runs a command as the first process of a container does not, with usual signals and no zombies.
 *
 * The command gets every signal. One that asks to stop also goes, once, to each process that has lost its parent: a shell
 * that dies of it leaves its commands uninformed. Others get it after PATIENCE_SECONDS only: the children of a shell that
 * outlives the signal (it waits for them before its trap runs, or hands the signal on itself), and what reads from a pipe
 * (it ends when the writer has). The children of npm and other supervisors are left to these: a second signal often means
 * "at once". Init ends with the command, after a signal to stop with the last process. Its exit code is the command's, or
 * 128 and the number of the signal that ended it; where that is the signal to stop, the code of the last process that it
 * left. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TOLD_MAX 4096
#define LOOK_NANOSECONDS 100000000
#define PATIENCE_SECONDS 4

struct told {
    pid_t pid;
    time_t at;
};

static struct told told[TOLD_MAX];
static int told_count;
static pid_t command;
static time_t stopped_at;
static int code, other_code = -1, stopping, ended, alone;

static time_t seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static struct told *find_told(pid_t pid) {
    for (int n = 0; n < told_count; n++)
        if (told[n].pid == pid) return &told[n];
    return NULL;
}

static void tell(pid_t pid, int signal) {
    if (told_count == TOLD_MAX) return;
    told[told_count++] = (struct told){pid, seconds()};
    kill(pid, signal);
}

static void forget(pid_t pid) {
    struct told *found = find_told(pid);
    if (found) *found = told[--told_count];
}

static void reap(void) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        forget(pid);
        int found = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        if (pid == command) ended = 1, code = found;
        else if (stopping) other_code = found;
    }
    alone = pid < 0 && errno == ECHILD;
}

/* Where a link in /proc leads; empty if it cannot be read. */
static void follow(pid_t pid, const char *name, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/%d/%s", (int)pid, name);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
}

static int is_shell(pid_t pid) {
    static const char *const shells[] = {"sh", "bash", "dash", "busybox", "ksh", "zsh"};
    char path[PATH_MAX];
    follow(pid, "exe", path);
    const char *slash = strrchr(path, '/');
    for (size_t n = 0; n < sizeof shells / sizeof *shells; n++)
        if (!strcmp(slash ? slash + 1 : path, shells[n])) return 1;
    return 0;
}

static int reads_from_another(pid_t pid) {
    char own[PATH_MAX], path[PATH_MAX];
    follow(getpid(), "fd/0", own);
    follow(pid, "fd/0", path);
    return !strncmp(path, "pipe:", 5) && strcmp(path, own);
}

/* The parent of a process, or -1 if it is gone or dead. */
static pid_t parent_of(const char *pid) {
    char path[64], line[512], state;
    int parent;
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    FILE *file = fopen(path, "re");
    if (!file) return -1;
    size_t length = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[length] = 0;
    /* The name, in parentheses, can contain anything. */
    char *behind_name = strrchr(line, ')');
    if (!behind_name || sscanf(behind_name, ") %c %d", &state, &parent) != 2 || state == 'Z') return -1;
    return parent;
}

static int must_be_told(pid_t pid, pid_t parent) {
    if (parent == getpid()) return !reads_from_another(pid) || seconds() - stopped_at >= PATIENCE_SECONDS;
    const struct told *found = find_told(parent);
    return found && seconds() - found->at >= PATIENCE_SECONDS && is_shell(parent);
}

static void tell_others(void) {
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    if (!processes) return;
    while ((entry = readdir(processes))) {
        pid_t pid = atoi(entry->d_name), parent;
        if (pid <= 0 || find_told(pid)) continue;
        parent = parent_of(entry->d_name);
        if (parent > 0 && must_be_told(pid, parent)) tell(pid, stopping);
    }
    closedir(processes);
}

static void start(char **arguments, const sigset_t *mask) {
    /* Who starts it may ignore this one, and then no process is ever reported as ended. */
    signal(SIGCHLD, SIG_DFL);
    command = fork();
    if (command < 0) {
        perror("init");
        exit(71);
    }
    if (command) return;
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(arguments[0], arguments);
    code = errno == ENOENT ? 127 : 126;
    perror(arguments[0]);
    _exit(code);
}

int main(int count, char **arguments) {
    static const struct timespec look = {0, LOOK_NANOSECONDS};
    sigset_t all, before;
    siginfo_t signal;
    if (count < 2) return 64;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigfillset(&all);
    /* Its own faults must end it. */
    sigdelset(&all, SIGSEGV), sigdelset(&all, SIGBUS), sigdelset(&all, SIGILL), sigdelset(&all, SIGFPE), sigdelset(&all, SIGABRT);
    sigprocmask(SIG_BLOCK, &all, &before);
    start(arguments + 1, &before);
    while (!ended || (stopping && !alone)) {
        int number = sigtimedwait(&all, &signal, stopping ? &look : NULL);
        if (number == SIGCHLD) {
            reap();
        } else if (number > 0 && signal.si_code != SI_KERNEL) {
            /* The kernel's come from the terminal, which has told all of its foreground processes. */
            if (number == SIGTERM || number == SIGINT || number == SIGQUIT) stopping = number, stopped_at = seconds(), told_count = 0;
            if (!ended) forget(command), tell(command, number);
        }
        if (stopping) tell_others();
    }
    return stopping && code == 128 + stopping && other_code >= 0 ? other_code : code;
}
