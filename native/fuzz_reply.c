/* Fuzz target for reply.h. Three ways to run it:
 *
 * - under libFuzzer (make fuzz-native, which needs clang): it finds its own way into the parser;
 * - without it, `fuzz_reply SECONDS`: mutates the seeds below. gcc's sanitizers are enough, so this
 *   is what the tests run;
 * - `fuzz_reply -`: parses each line of standard input and prints what it understood, so that the
 *   tests can compare it with another parser.
 */
#include <stdio.h>
#include <time.h>

#include "reply.h"

static void require(bool holds) {
    if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    char *line = malloc(size + 1); /* exact: one byte too far is seen by the sanitizer */
    char *text = NULL;
    double seconds = 0;
    require(line != NULL);
    memcpy(line, data, size);
    line[size] = '\0';
    enum reply reply = reply_parse(line, size, &text, &seconds);
    if (reply == WITHIN) {
        require(text == NULL);
    } else if (reply != MALFORMED) {
        require(text != NULL && text >= line && text < line + size);
        for (const char *at = text; *at; at += text_length(at)) require(text_length(at) > 0);
    }
    free(line);
    return 0;
}

#ifndef LIBFUZZER
static const char *const SEEDS[] = {
    "{\"within\": 12.5}",
    "{\"info\": \"Looking \\u00e9 \\ud83d\\ude00 \xc3\xa9 \xf0\x9f\x98\x80\"}",
    "{\"confirm\": \"Press \\\"Enter\\\" \\/ \\\\\", \"new\": null}",
    "{\"outcome\": \"match\", \"a\": true, \"b\": false, \"c\": 0.25}",
    "{ \"outcome\" :\t\"\" }",
};
enum { LONGEST = 256 };

static unsigned next_random(unsigned long long *state) {
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(*state >> 33);
}

static size_t mutate(unsigned char *line, size_t size, unsigned long long *state) {
    static const char tokens[] = "{}[]\",:\\u.0123456789abcdfeDd8nt \t\r";
    size_t at = next_random(state) % (size + 1), count = next_random(state) % 8;
    switch (next_random(state) % 5) {
    case 0: /* another byte */
        if (at < size) line[at] = (unsigned char)next_random(state);
        break;
    case 1: /* another byte of the grammar */
        if (at < size) line[at] = (unsigned char)tokens[next_random(state) % (sizeof tokens - 1)];
        break;
    case 2: /* cut */
        return at;
    case 3: /* take out */
        if (count > size - at) count = size - at;
        memmove(line + at, line + at + count, size - at - count);
        return size - count;
    default: /* say again */
        if (at < count || size + count > LONGEST) break;
        memmove(line + at + count, line + at, size - at);
        memmove(line + at, line + at - count, count);
        return size + count;
    }
    return size;
}

static int print_lines(void) {
    static const char *const names[] = {"within", "info", "confirm", "outcome", "malformed"};
    char *line = NULL, *text = NULL;
    size_t room = 0;
    double seconds = 0;
    for (ssize_t size; (size = getline(&line, &room, stdin)) > 0;) {
        line[--size] = '\0';
        enum reply reply = reply_parse(line, (size_t)size, &text, &seconds);
        if (reply == WITHIN) printf("within %.0f\n", seconds);
        else printf("%s %s\n", names[reply], reply == MALFORMED ? "" : text);
    }
    free(line);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "-") == 0) return print_lines();
    time_t until = time(NULL) + (argc == 2 ? atol(argv[1]) : 1);
    unsigned long long state = 1, runs = 0;
    while (time(NULL) < until)
        for (int batch = 0; batch < 10000; batch++, runs++) {
            unsigned char line[LONGEST];
            const char *seed = SEEDS[next_random(&state) % (sizeof SEEDS / sizeof *SEEDS)];
            size_t size = strlen(seed);
            memcpy(line, seed, size);
            for (unsigned times = next_random(&state) % 6; times > 0; times--)
                size = mutate(line, size, &state);
            LLVMFuzzerTestOneInput(line, size);
        }
    printf("%llu lines\n", runs);
    return 0;
}
#endif
