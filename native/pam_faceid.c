/* pam_faceid.so asks the service for a face, as docs/protocol.md says. Hosts may have threads: it
 * keeps nothing outside the PAM handle and installs no signal handler. Twin: pam_faceid/hook.py. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <security/pam_ext.h>
#include <security/pam_modules.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include "reply.h"

#define REFUSED "pam_faceid: refused" /* in the handle: when, and who; no match */
#define ENTRY(name) __attribute__((visibility("default"))) \
    int name(pam_handle_t *pamh, int flags, int argc, const char **argv)
enum { MAX_REQUEST = 4096, MAX_REPLY = 65536, TICK_MS = 20, NOT_YET = -2, TERMINAL = 0, HOST = 1,
       AGAIN_SECONDS = 20 }; /* for three passwords of sudo; a locker keeps its handle */

struct attempt {
    pam_handle_t *pamh;
    const char *user, *root, *python;
    bool let_in, silent, skipping;
    int channel, terminal, keys, worker, guard; /* keys: where the guard tells of one */
    double deadline;
    struct termios modes; /* as they were found */
    sigset_t wanted, before;
};

static int code_of(const char *outcome) {
    static const struct { const char *outcome; int code; } codes[] = {
        {"match", PAM_SUCCESS}, {"locked_out", PAM_MAXTRIES}, {"not_permitted", PAM_PERM_DENIED},
        {"not_enrolled", PAM_AUTHINFO_UNAVAIL}, {"failure_to_acquire", PAM_AUTHINFO_UNAVAIL},
        {"internal_error", PAM_SYSTEM_ERR}};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strcmp(outcome, codes[i].outcome) == 0) return codes[i].code;
    return PAM_AUTH_ERR; /* non_match, presentation_attack, skipped, and any unknown word */
}

static double now(void) {
    struct timespec time = {0}; clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void say(int to, const char *line) { send(to, line, strlen(line), MSG_NOSIGNAL); }

static int fork_apart(pid_t *child) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return -1;
    if ((*child = fork()) == 0) setsid();
    close(ends[*child != 0]);
    return ends[*child == 0]; /* this side's end of the socket pair */
}

static void end(pid_t child) {
    if (child <= 0 || (kill(-child, SIGKILL) != 0 && kill(child, SIGKILL) != 0)) return;
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) continue;
}

/* Opens the channel: to the service or, as root where nobody listens, to a worker of our own. */
static int reach(struct attempt *a) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct ucred listener = {.uid = (uid_t)-1};
    char file[MAX_REQUEST];
    snprintf(to.sun_path, sizeof to.sun_path, "%s/run/pam_faceid/socket", a->root);
    a->channel = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (connect(a->channel, (struct sockaddr *)&to, sizeof to) == 0) { /* never waits in a queue */
        getsockopt(a->channel, SOL_SOCKET, SO_PEERCRED, &listener, &(socklen_t){sizeof listener});
        return listener.uid == 0 ? PAM_SUCCESS : PAM_SYSTEM_ERR;
    }
    if ((errno != ENOENT && errno != ECONNREFUSED) || geteuid() != 0) return PAM_SYSTEM_ERR;
    close(a->channel), a->channel = -1;
    snprintf(file, sizeof file, "%s/etc/pam_faceid/templates/%s.template", a->root, a->user);
    if (euidaccess(file, F_OK) != 0 && errno == ENOENT) return PAM_AUTHINFO_UNAVAIL; /* at once */
    a->channel = fork_apart(&a->worker);
    if (a->worker != 0) return a->channel >= 0 ? PAM_SUCCESS : PAM_SYSTEM_ERR;
    for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
    pthread_sigmask(SIG_SETMASK, &(sigset_t){0}, NULL);
    if (dup2(a->channel, 0) == 0 && close(1) <= 0 && open("/dev/null", O_RDWR) == 1 && dup2(1, 2))
        execle(a->python, a->python, "-I", "-B", "-m", "pam_faceid.apps.worker", "--root", a->root,
               NULL, (char *[]){"ORT_DISABLE_TELEMETRY=1", "OPENBLAS_NUM_THREADS=1", NULL});
    _exit(127);
}

static int compose(const struct attempt *a, char *to) { /* no user's name is other than text */
    static const struct { const char *key; int item; } fields[] = {
        {"{\"op\": \"%s\", \"user\": \"", PAM_USER}, {"\", \"service\": \"", PAM_SERVICE},
        {"\", \"rhost\": \"", PAM_RHOST}, {"\", \"tty\": \"", PAM_TTY}, {"\", \"seat\": \"", 0}};
    const char *limit = to + MAX_REQUEST - 64, *seat = pam_getenv(a->pamh, "XDG_SEAT");
    for (int i = 0; i < (a->let_in ? 2 : seat && *seat ? 5 : 4); i++) {
        const void *item = i == 0 ? a->user : seat;
        if (fields[i].item && i > 0) pam_get_item(a->pamh, fields[i].item, &item);
        to += sprintf(to, fields[i].key, a->let_in ? "let_in" : "authenticate");
        for (const char *from = item ? item : ""; *from;) {
            size_t length = text_length(from);
            if (length == 0 || to > limit) return i == 0 ? PAM_AUTHINFO_UNAVAIL : PAM_SYSTEM_ERR;
            if (strchr("\"\\", *from)) *to++ = '\\';
            for (; length > 0; length--) *to++ = *from++;
        }
    }
    strcpy(to, "\"}\n");
    return PAM_SUCCESS;
}

/* A child that hides what is typed, tells of a key, and restores the terminal if the host dies. */
static _Noreturn void guard(int terminal, int host, const struct termios *found) {
    struct pollfd line = {TERMINAL, POLLIN, 0}, ended = {HOST, POLLIN, 0};
    struct termios quiet = *found, counting = *found, current;
    int keys = 0;
    dup2(terminal, TERMINAL), dup2(host, HOST), close_range(HOST + 1, ~0U, 0);
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    counting.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON);
    tcsetattr(TERMINAL, TCSANOW, &quiet);
    while (poll(&ended, 1, TICK_MS) == 0) {
        /* Other modes than ours are those of a shell that took the terminal back. */
        if (keys || tcgetattr(TERMINAL, &current) || current.c_lflag != quiet.c_lflag) continue;
        if (poll(&line, 1, 0) > 0) { /* a finished line, or any key if *found has no ICANON */
            ioctl(TERMINAL, FIONREAD, &keys); /* Enter alone is taken, all else stays */
            keys = keys != 1 || !(quiet.c_lflag & ICANON) || read(TERMINAL, &(char){0}, 1);
        } else { /* the keys of an unfinished line can be counted in no other way */
            tcsetattr(TERMINAL, TCSANOW, &counting);
            ioctl(TERMINAL, FIONREAD, &keys);
            tcsetattr(TERMINAL, TCSANOW, &quiet);
            keys |= poll(&line, 1, 0) > 0; /* one of this instant, maybe not Enter: it stays */
        }
        if (keys) say(HOST, "k");
    }
    if (tcgetattr(TERMINAL, &current) == 0 && current.c_lflag == quiet.c_lflag)
        tcsetattr(TERMINAL, TCSANOW, found);
    _exit(0);
}

static void watch_terminal(struct attempt *a) {
    a->terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    bool ours = a->terminal >= 0 && tcgetpgrp(a->terminal) == getpgrp();
    a->keys = ours && tcgetattr(a->terminal, &a->modes) == 0 ? fork_apart(&a->guard) : -1;
    if (a->guard == 0) guard(a->terminal, a->keys, &a->modes);
}

static void release(struct attempt *a) { /* terminal and signals are the host's again, for good */
    end(a->guard);
    bool ours = a->guard > 0 && tcgetpgrp(a->terminal) == getpgrp();
    if (ours) tcsetattr(a->terminal, TCSANOW, &a->modes);
    if (a->terminal >= 0) close(a->terminal);
    if (a->keys >= 0) close(a->keys);
    a->guard = a->terminal = a->keys = -1;
    pthread_sigmask(SIG_SETMASK, &a->before, NULL);
}

static int converse(struct attempt *a) { /* until the last line, the deadline or a hang-up */
    char held[MAX_REPLY], *next, *text = NULL, *answer = NULL;
    size_t length = 0;
    double seconds = 0;
    for (bool typing = false; now() < a->deadline;) {
        struct pollfd in[] = {{a->channel, POLLIN, 0}, {a->skipping ? -1 : a->keys, POLLIN, 0}};
        if (poll(in, 2, TICK_MS) == 0 && a->keys == NOT_YET) watch_terminal(a);
        int number = a->skipping ? 0 : sigtimedwait(&a->wanted, NULL, &(struct timespec){0});
        if (number > 0 && number != SIGINT) raise(number); /* reaches the host after the attempt */
        if (!a->skipping && (typing || number > 0 || in[1].revents)) {
            a->skipping = true, typing = false, a->deadline = now() + 0.3;
            say(a->channel, "{\"op\": \"skip\"}\n");
        }
        if (!in[0].revents) continue;
        ssize_t got = recv(a->channel, held + length, sizeof held - length, 0);
        if (got <= 0) break; /* also when an endless line has filled it */
        length += (size_t)got;
        while (!typing && (next = memchr(held, '\n', length))) {
            *next++ = '\0';
            enum reply reply = reply_parse(held, (size_t)(next - held) - 1, &text, &seconds);
            if (reply == MALFORMED) text = "internal_error";
            if (reply >= OUTCOME) return a->skipping ? PAM_AUTH_ERR : code_of(text);
            if (reply == WITHIN && !a->skipping) a->deadline = now() + seconds;
            if (reply == INFO && !a->skipping && !a->silent) pam_info(a->pamh, "%s", text);
            if (reply == CONFIRM && !a->skipping) { /* an empty answer, or the wish to type */
                release(a);
                pam_prompt(a->pamh, PAM_PROMPT_ECHO_OFF, &answer, "%s", text);
                a->deadline = now() + 5;
                if (!(typing = !answer || *answer)) say(a->channel, "{\"op\": \"confirmed\"}\n");
                if (answer) explicit_bzero(answer, strlen(answer)), free(answer), answer = NULL;
            }
            length -= (size_t)(next - held), memmove(held, next, length);
        }
    }
    return a->skipping ? PAM_AUTH_ERR : PAM_SYSTEM_ERR;
}

static int ask(struct attempt *a, int argc, const char **argv) { /* for one request */
    static const int wanted[] = {SIGINT, SIGTSTP, SIGQUIT, SIGTERM, SIGHUP, SIGALRM};
    char line[MAX_REQUEST];
    sigset_t all;
    a->deadline = now() + (a->let_in ? 1 : 5);
    sigemptyset(&a->wanted);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) sigaddset(&a->wanted, wanted[i]);
    for (int i = 0; i < argc; i++)
        if (strncmp(argv[i], "root=", 5) == 0) a->root = argv[i] + 5;
        else if (strncmp(argv[i], "python=", 7) == 0) a->python = argv[i] + 7;
    sigfillset(&all); /* so that no handler of the host's runs in a child */
    pthread_sigmask(SIG_SETMASK, &all, &a->before);
    int code = compose(a, line);
    if (code == PAM_SUCCESS) code = reach(a);
    if (code == PAM_SUCCESS) say(a->channel, line), code = converse(a);
    if (a->channel >= 0) close(a->channel);
    end(a->worker);
    release(a);
    return code;
}

static void forget(pam_handle_t *pamh, void *refused, int status) { free(refused); }

#define ATTEMPT .pamh = pamh, .root = "/", .python = "/opt/pam_faceid/current/bin/python", \
    .channel = -1, .terminal = -1, .worker = -1, .guard = -1

ENTRY(pam_sm_authenticate) {
    struct attempt a = {ATTEMPT, .keys = NOT_YET, .silent = (unsigned)flags & PAM_SILENT};
    char *refused = NULL, *who;
    if (pam_get_user(pamh, &a.user, NULL) != PAM_SUCCESS || !*a.user) return PAM_AUTHINFO_UNAVAIL;
    pam_get_data(pamh, REFUSED, (const void **)&refused);
    if (refused && now() < strtol(refused, &who, 10) + AGAIN_SECONDS && !strcmp(who + 1, a.user))
        return PAM_AUTH_ERR; /* nobody looks three times */
    int code = ask(&a, argc, argv);
    if (!code || asprintf(&refused, "%ld %s", (long)now(), a.user) < 0) refused = NULL;
    pam_set_data(pamh, REFUSED, refused, forget);
    return code;
}

/* Something else, the password, has let in whom the face did not: the service is to know. */
ENTRY(pam_sm_setcred) {
    struct attempt a = {ATTEMPT, .keys = -1, .let_in = true, .skipping = true};
    pam_get_data(pamh, REFUSED, (const void **)&a.user);
    if (!a.user || (unsigned)flags & PAM_DELETE_CRED) return PAM_SUCCESS;
    a.user = strchr(a.user, ' ') + 1;
    ask(&a, argc, argv), pam_set_data(pamh, REFUSED, NULL, NULL);
    return PAM_SUCCESS;
}

ENTRY(pam_sm_acct_mgmt) { return PAM_IGNORE; } /* success would hide that an account has expired */
ENTRY(pam_sm_open_session) { return PAM_SUCCESS; }
ENTRY(pam_sm_close_session) { return PAM_SUCCESS; }
ENTRY(pam_sm_chauthtok) { return PAM_PERM_DENIED; }
