/* What servers call of libsystemd, as its manual pages describe it: they notify a service manager that they are ready, and
 * ask which sockets they were started with. The distribution's library does the same with 1 MB, and with compressors and
 * ciphers for journals, which no server reads. Nothing newer than glibc 2.31 is called: bullseye is served as well. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST 3 /* SD_LISTEN_FDS_START */

/* sd_notify(3): 1 if it was sent, 0 if nothing listens, or a negative errno. */
int sd_notify(int unset, const char *state)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const char *place = getenv("NOTIFY_SOCKET");
    int result, file;
    size_t length;

    if (state == NULL)
        return -EINVAL;
    if (place == NULL)
        return 0;
    length = strlen(place);
    if (length < 2 || (place[0] != '/' && place[0] != '@')) {
        result = -EAFNOSUPPORT;
    } else if (length >= sizeof address.sun_path) {
        result = -E2BIG;
    } else {
        memcpy(address.sun_path, place, length);
        if (place[0] == '@')
            address.sun_path[0] = '\0';
        length += offsetof(struct sockaddr_un, sun_path) + (place[0] == '/');
        file = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        result = file < 0 ? -errno : 1;
        if (file >= 0 && sendto(file, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, (socklen_t)length) < 0)
            result = -errno;
        if (file >= 0)
            close(file);
    }
    if (unset)
        unsetenv("NOTIFY_SOCKET");
    return result;
}

int sd_notifyf(int unset, const char *format, ...)
{
    va_list arguments;
    char *state = NULL;
    int result;

    va_start(arguments, format);
    result = vasprintf(&state, format, arguments);
    va_end(arguments);
    if (result < 0)
        return -ENOMEM;
    result = sd_notify(unset, state);
    free(state);
    return result;
}

/* A number without sign; -1 for anything else. */
static long number(const char *text)
{
    long value = 0;

    if (text == NULL || *text == '\0')
        return -1;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || value > 100000000)
            return -1;
        value = value * 10 + (*text - '0');
    }
    return value;
}

static int listen_fds(void)
{
    const char *process = getenv("LISTEN_PID");
    long count;

    if (process == NULL || number(process) != (long)getpid())
        return process != NULL && number(process) < 0 ? -EINVAL : 0;
    if (getenv("LISTEN_FDS") == NULL)
        return 0;
    count = number(getenv("LISTEN_FDS"));
    if (count < 0)
        return -EINVAL;
    for (long file = FIRST; file < FIRST + count; file++) {
        int flags = fcntl((int)file, F_GETFD);
        if (flags < 0 || fcntl((int)file, F_SETFD, flags | FD_CLOEXEC) < 0)
            return -errno;
    }
    return (int)count;
}

/* Names of `count` sockets, as LISTEN_FDNAMES has them with colons between; NULL where those are not as many. */
static char **listed_names(const char *text, int count)
{
    char **names = calloc((size_t)count + 1, sizeof *names);

    for (int at = 0; names != NULL && at < count; at++) {
        const char *end = text == NULL ? NULL : strchrnul(text, ':');
        names[at] = text == NULL ? strdup("unknown") : strndup(text, (size_t)(end - text));
        if (names[at] == NULL || (text != NULL && (*end == '\0') != (at == count - 1))) {
            while (at >= 0)
                free(names[at--]);
            free(names);
            return NULL;
        }
        text = text == NULL ? NULL : end + 1;
    }
    return names;
}

/* sd_listen_fds_with_names(3): how many sockets, and a name for each that the caller frees. */
int sd_listen_fds_with_names(int unset, char ***names)
{
    int count = listen_fds();

    if (count > 0 && names != NULL) {
        char **listed = listed_names(getenv("LISTEN_FDNAMES"), count);
        if (listed == NULL)
            count = -EINVAL;
        else
            *names = listed;
    }
    if (unset) {
        unsetenv("LISTEN_PID");
        unsetenv("LISTEN_FDS");
        unsetenv("LISTEN_FDNAMES");
    }
    return count;
}
