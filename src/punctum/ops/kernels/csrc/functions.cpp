// exp and log of many numbers, in pieces of 16, for tests of vector.h.
#include "vector.h"

namespace {

struct Arguments {
    const float* values;
    float* results;
};

}  // namespace

PUNCTUM_KERNEL(exp_of) {
    const Arguments& a = *(const Arguments*)args;
    for (int64_t i = 16 * begin; i < 16 * end; i += LANES) store(a.results + i, exp(load(a.values + i)));
}

PUNCTUM_KERNEL(log_of) {
    const Arguments& a = *(const Arguments*)args;
    for (int64_t i = 16 * begin; i < 16 * end; i += LANES) store(a.results + i, log(load(a.values + i)));
}

PUNCTUM_KERNEL(exp_share_of) {
    const Arguments& a = *(const Arguments*)args;
    for (int64_t i = 16 * begin; i < 16 * end; i += LANES) store(a.results + i, exp_share(load(a.values + i)));
}

PUNCTUM_KERNEL(log_share_of) {
    const Arguments& a = *(const Arguments*)args;
    for (int64_t i = 16 * begin; i < 16 * end; i += LANES) store(a.results + i, log_share(load(a.values + i)));
}
