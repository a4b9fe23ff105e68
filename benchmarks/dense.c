/* The floor: the 400-25-15-10 network as plain loops, one image at a time. Weights are (inputs, outputs), as in Keras.
   Built by peers.py: cc -O3 -march=native -shared -fPIC. */
#include <time.h>

enum { N0 = 400, N1 = 25, N2 = 15, N3 = 10 };

static inline void dense(const float *restrict x, const float *restrict w, const float *restrict b,
                         float *restrict y, int inputs, int outputs, int relu) {
    for (int j = 0; j < outputs; j++) y[j] = b[j];
    for (int i = 0; i < inputs; i++)
        for (int j = 0; j < outputs; j++) y[j] += x[i] * w[i * outputs + j];
    if (relu)
        for (int j = 0; j < outputs; j++) y[j] = y[j] > 0 ? y[j] : 0;
}

typedef struct { const float *w1, *b1, *w2, *b2, *w3, *b3; } weights;

void logits(const weights *m, const float *x, float *y) {
    float h1[N1], h2[N2];
    dense(x, m->w1, m->b1, h1, N0, N1, 1);
    dense(h1, m->w2, m->b2, h2, N1, N2, 1);
    dense(h2, m->w3, m->b3, y, N2, N3, 0);
}

/* Mean nanoseconds of one image; the sum of all logits keeps the loop from being thrown away. */
double loop_ns(const weights *m, const float *images, long count, float *sum) {
    struct timespec from, to;
    float y[N3];
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (long n = 0; n < count; n++) {
        logits(m, images + n * N0, y);
        for (int j = 0; j < N3; j++) *sum += y[j];
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    return ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / count;
}
