/* memcpy and memcmp for small pieces, which is what a store of keys copies and compares: musl's cost a tenth of all
 * requests. Linked before musl, they take the place of its own; a compiler may not make calls to them of them. musl's
 * memmove would bring its memcpy along, so there is one here too. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint64_t word __attribute__((aligned(1), may_alias));
typedef uint32_t half __attribute__((aligned(1), may_alias));
typedef long long block __attribute__((vector_size(16), aligned(1), may_alias));

void *memcpy(void *restrict target, const void *restrict source, size_t size)
{
    char *to = target;
    const char *from = source;

    if (size <= 16) { /* two that overlap */
        if (size >= 8) {
            word first = *(const word *)from, last = *(const word *)(from + size - 8);
            *(word *)to = first;
            *(word *)(to + size - 8) = last;
        } else if (size >= 4) {
            half first = *(const half *)from, last = *(const half *)(from + size - 4);
            *(half *)to = first;
            *(half *)(to + size - 4) = last;
        } else if (size > 0) {
            char first = from[0], middle = from[size / 2], last = from[size - 1];
            to[0] = first;
            to[size / 2] = middle;
            to[size - 1] = last;
        }
        return target;
    }
    block last = *(const block *)(from + size - 16);
    char *end = to + size - 16;
    for (; end - to > 48; from += 64, to += 64) {
        block one = ((const block *)from)[0], two = ((const block *)from)[1];
        block three = ((const block *)from)[2], four = ((const block *)from)[3];
        ((block *)to)[0] = one;
        ((block *)to)[1] = two;
        ((block *)to)[2] = three;
        ((block *)to)[3] = four;
    }
    for (; to < end; from += 16, to += 16)
        *(block *)to = *(const block *)from;
    *(block *)end = last;
    return target;
}

void *memmove(void *target, const void *source, size_t size)
{
    char *to = target;
    const char *from = source;

    if (to + size <= from || from + size <= to)
        return memcpy(target, source, size);
    if (to < from) {
        for (; size >= 8; size -= 8, to += 8, from += 8)
            *(word *)to = *(const word *)from;
        for (; size > 0; size--)
            *to++ = *from++;
    } else {
        for (; size >= 8; size -= 8)
            *(word *)(to + size - 8) = *(const word *)(from + size - 8);
        for (; size > 0; size--)
            to[size - 1] = from[size - 1];
    }
    return target;
}

int memcmp(const void *one, const void *other, size_t size)
{
    const unsigned char *left = one, *right = other;

    for (; size >= 8 && *(const word *)left == *(const word *)right; size -= 8, left += 8, right += 8)
        ;
    for (; size > 0; size--, left++, right++)
        if (*left != *right)
            return *left - *right;
    return 0;
}
