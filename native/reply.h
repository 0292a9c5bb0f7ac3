/* A line from the service: a flat JSON object that holds one of the keys of docs/protocol.md.
 * Needs the C library alone, so it is fuzzed alone. Whatever is not expected is malformed. */
#pragma once
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum reply { WITHIN, INFO, CONFIRM, OUTCOME, MALFORMED };

/* Bytes of the UTF-8 character at s; 0: not well-formed (RFC 3629), or a control character. */
static size_t text_length(const char *s) {
    static const unsigned least[] = {0, 0x20, 0xa0, 0x800, 0x10000}; /* by length */
    unsigned c = (unsigned char)*s;
    size_t length = c < 0x80 ? 1 : c < 0xc0 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf8 ? 4 : 0;
    c &= length > 1 ? 0x7fU >> length : 0x7f;
    for (size_t i = 1; i < length; c = c << 6 | (s[i++] & 0x3f))
        if ((s[i] & 0xc0) != 0x80) return 0;
    return c < least[length] || c == 0x7f || c >> 11 == 0x1b || c > 0x10ffff ? 0 : length;
}

/* Writes the character that the escape at s means so that both end at one place; returns it. */
static char *unescape(char *s) {
    unsigned long c = 0, unit, room = 0x7f;
    if (s[1] && strchr("\"\\/", s[1])) return s + 1; /* the others are controls */
    for (; c == 0 || c >> 10 == 0x36; s += 6) { /* twice for the two halves of a surrogate pair */
        if (strncmp(s, "\\u", 2) || strspn(s + 2, "0123456789abcdefABCDEF") < 4) return NULL;
        unit = strtoul(memcpy((char[5]){0}, s + 2, 4), NULL, 16);
        if (unit == 0 || (c && unit >> 10 != 0x37)) return NULL;
        c = c ? 0x10000 + ((c & 0x3ff) << 10) + (unit & 0x3ff) : unit;
    }
    for (; c > room; c >>= 6, room >>= room == 0x7f ? 2 : 1) *--s = (char)(0x80 | (c & 0x3f));
    *--s = (char)(c | ~(room << 1 | 1));
    return s;
}

/* Moves past blanks, and past the word if it follows. */
static bool take(char **at, const char *word) {
    *at += strspn(*at, " \t\r");
    bool found = strncmp(*at, word, strlen(word)) == 0;
    *at += found ? strlen(word) : 0;
    return found;
}

/* Takes a string and decodes it where it is; NULL: there is none, or it is malformed. */
static char *take_string(char **at) {
    if (!take(at, "\"")) return NULL;
    char *start = *at, *out = start, *in = start;
    for (size_t length; *in != '"'; in += length, out += length) {
        if (*in == '\\' && !(in = unescape(in))) return NULL;
        if ((length = text_length(in)) == 0) return NULL;
        memmove(out, in, length);
    }
    *out = '\0', *at = in + 1;
    return start;
}

/* Parses a line, and spoils it. line[length] is the NUL that stands in place of the newline. */
static enum reply reply_parse(char *line, size_t length, char **text, double *seconds) {
    static const char *const keys[] = {"within", "info", "confirm", "outcome"};
    const char *end = line + length;
    enum reply reply = MALFORMED;
    for (bool more = take(&line, "{"); more; more = take(&line, ",")) {
        char *value = NULL, *key = take_string(&line);
        if (!key || !take(&line, ":")) return MALFORMED;
        take(&line, ""); /* blanks */
        size_t whole = strspn(line, "0123456789"), part = 0;
        if (line[whole] == '.') part = 1 + strspn(line + whole + 1, "0123456789");
        bool number = whole > 0 && part != 1 && (whole == 1 || *line != '0');
        double count = number && whole < 3 ? (double)strtoul(line, NULL, 10) + (part > 0) : 90;
        if (number) line += whole + part; /* in whole seconds: a deadline only bounds a hang */
        else if (!take(&line, "true") && !take(&line, "false") && !take(&line, "null") &&
                 !(value = take_string(&line))) return MALFORMED;
        for (unsigned i = WITHIN; i < MALFORMED; i++) {
            if (strcmp(key, keys[i]) != 0) continue;
            if (reply != MALFORMED || (i == WITHIN ? !number : !value)) return MALFORMED;
            reply = (enum reply)i, *text = value, *seconds = count < 90 ? count : 90;
        }
    }
    return take(&line, "}") && (take(&line, ""), line == end) ? reply : MALFORMED;
}
