// Mean and covariance of the softmax, and the gradient of whatever is made of them.
#include "maps.h"

namespace punctum {
namespace PUNCTUM_LEVEL {
namespace {

struct Arguments {
    const void* logits;     // maps x cells
    void* gradient;         // the same, or null
    float* mean;            // maps x dims
    float* covariance;      // maps x dims x dims, or null
    float* saved;           // maps x 2: peak (-inf: an empty map) and log of the sum
    const float* up_mean;   // upstream gradients, as mean and covariance
    const float* up_covariance;
    int64_t maps, dims, x, y, z;
    float beta;
    int32_t dtype;
};

Sizes sizes(const Arguments& a) { return {a.x, a.y, a.z, a.dims}; }

template <int ORDER, class T>
void forward(const Arguments& a, int64_t begin, int64_t end) {
    const Sizes size = sizes(a);
    const int64_t cells = size.cells(), dims = size.dims;
    Workspace space(centres_floats(size));
    const Centres middle = centres_in(space.memory, size);
    Uniform<T> uniform;
    const T* logits = (const T*)a.logits;
    for (int64_t m = begin; m < end; m++) {
        Map<T> map{logits + m * cells, logits + a.maps * cells, a.beta};
        const Peak peak = find_peak<ORDER == 2>(map, cells);
        if (peak.empty) map.logits = uniform.logits(cells), map.end = map.logits + cells;
        const Centres centres = ORDER == 2 ? about_peak(middle, size, peak) : middle;
        const auto nothing = [](const Row&, int64_t, Floats, Floats) {};
        const Moments found = moments_of(add_up<ORDER>(map, size, peak.value, centres, nullptr, nothing), centres);
        a.saved[2 * m] = peak.empty ? -__builtin_inff() : peak.value;
        a.saved[2 * m + 1] = (float)found.log_total;
        for (int64_t i = 0; i < dims; i++) {
            a.mean[m * dims + i] = (float)found.mean[i];
            for (int64_t j = 0; ORDER == 2 && j < dims; j++)
                a.covariance[(m * dims + i) * dims + j] = (float)found.covariance[i][j];
        }
    }
}

template <class T>
void backward(const Arguments& a, int64_t begin, int64_t end) {
    const Sizes size = sizes(a);
    const int64_t cells = size.cells(), dims = size.dims;
    Workspace space(centres_floats(size));
    const Centres middle = centres_in(space.memory, size);
    const T* logits = (const T*)a.logits;
    for (int64_t m = begin; m < end; m++) {
        T* gradient = (T*)a.gradient + m * cells;
        const float peak = a.saved[2 * m], log_total = a.saved[2 * m + 1];
        Slope slope = {};
        bool flat = log_total == log_total;  // not NaN
        for (int64_t i = 0; i < dims; i++) {
            slope.mean[i] = a.mean[m * dims + i];
            slope.linear[i] = a.up_mean[m * dims + i];
            flat = flat && slope.linear[i] == 0;
            for (int64_t j = 0; a.up_covariance && j < dims; j++) {
                const int64_t at = (m * dims + i) * dims + j;
                slope.quadratic[i][j] = a.up_covariance[at];
                slope.constant -= a.up_covariance[at] * a.covariance[at];
                flat = flat && a.up_covariance[at] == 0;
            }
        }
        if (flat || peak == -__builtin_inff()) {
            __builtin_memset(gradient, 0, cells * sizeof(T));
            continue;
        }
        const Map<T> map{logits + m * cells, logits + a.maps * cells, a.beta};
        for (Row row = {}; row.number < size.rows(); row.next(size)) {
            const RowSlope c = on_row(slope, middle, row);
            for (int64_t i = 0; i < size.x; i += LANES) {
                const int64_t at = row.number * size.x + i;
                const Floats p = exp_share(map.below(peak, at) - log_total);
                const Floats dx = load(middle.axes[0] + i) - slope.mean[0];
                store_before(gradient + at, (const T*)gradient + cells, a.beta * p * c.at(dx));
            }
        }
    }
}

}  // namespace
}  // namespace PUNCTUM_LEVEL
}  // namespace punctum

PUNCTUM_KERNEL(moments_forward) {
    const Arguments& a = *(const Arguments*)args;
    if (a.dtype == FLOAT32) return a.covariance ? forward<2, float>(a, begin, end) : forward<1, float>(a, begin, end);
    if (a.dtype == BFLOAT16)
        return a.covariance ? forward<2, BFloat16>(a, begin, end) : forward<1, BFloat16>(a, begin, end);
    return a.covariance ? forward<2, Float16>(a, begin, end) : forward<1, Float16>(a, begin, end);
}

PUNCTUM_KERNEL(moments_backward) {
    const Arguments& a = *(const Arguments*)args;
    if (a.dtype == FLOAT32) return backward<float>(a, begin, end);
    if (a.dtype == BFLOAT16) return backward<BFloat16>(a, begin, end);
    return backward<Float16>(a, begin, end);
}
