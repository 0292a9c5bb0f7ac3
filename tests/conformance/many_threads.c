/* A host with threads: many_threads SERVICE USER THREADS TIMES. Each thread authenticates again and
 * again in handles of its own. Prints how often PAM said yes, and the descriptors before and after. */
#include <dirent.h>
#include <pthread.h>
#include <security/pam_appl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

static const char *service, *user;
static int times;
static atomic_int accepted, shown;

static int converse(int count, const struct pam_message **messages, struct pam_response **answers,
                    void *data) {
    (void)messages, (void)data;
    *answers = calloc((size_t)count, sizeof **answers);
    shown += count;
    return *answers ? PAM_SUCCESS : PAM_BUF_ERR;
}

static void *authenticate(void *data) {
    for (int i = 0; i < times; i++) {
        struct pam_conv conversation = {converse, NULL};
        pam_handle_t *handle;
        if (pam_start(service, user, &conversation, &handle) != PAM_SUCCESS) break;
        int code = pam_authenticate(handle, 0);
        accepted += code == PAM_SUCCESS;
        pam_end(handle, code);
    }
    return data;
}

static int descriptors(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder && readdir(folder)) count++;
    if (folder) closedir(folder);
    return count;
}

int main(int argc, char **argv) {
    pthread_t threads[64];
    if (argc != 5 || atoi(argv[3]) > 64) return 2;
    service = argv[1], user = argv[2], times = atoi(argv[4]);
    int before = descriptors();
    for (int i = 0; i < atoi(argv[3]); i++) pthread_create(&threads[i], NULL, authenticate, NULL);
    for (int i = 0; i < atoi(argv[3]); i++) pthread_join(threads[i], NULL);
    printf("%d %d %d %d\n", accepted, shown, descriptors() - before, waitpid(-1, NULL, WNOHANG));
    return 0;
}
