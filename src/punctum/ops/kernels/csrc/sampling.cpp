// Draws from a heatmap's mixture: the noise is made where it is used, and made again for the gradient.
//
// With E = -log U a weight of the Gumbel-softmax is w = p^power E^-sharpness, sharpness = 1 / tau. Up to a sharpness
// of 4 that stays within float's range without a look at the largest: E lies within [6e-8, 17], and the most probable
// cell (p = 1 here) always counts. Colder weights are taken relative to the largest of their sample.
#include "maps.h"
#include "philox.h"

namespace punctum {
namespace PUNCTUM_LEVEL {
namespace {

struct Arguments {
    const void* logits;   // maps x cells
    void* gradient;       // the same, or null
    float* coords;        // maps x samples x dims
    float* saved;         // maps x samples: 1 / sum of the weights; when cold, log of the sum
    const float* up;      // upstream gradient, as coords
    const int64_t* seed;  // one
    int64_t maps, dims, x, y, z, samples;
    float beta, sharpness, power;
    int32_t dtype, basis;
};

enum Mode : int32_t { INVERSE, INVERSE_SQUARE, WARM, COLD };
constexpr float WARMEST_COLD = 4.0f;

Mode mode_of(float sharpness) {
    if (sharpness == 1.0f) return INVERSE;
    if (sharpness == 2.0f) return INVERSE_SQUARE;
    return sharpness <= WARMEST_COLD ? WARM : COLD;
}

Sizes sizes(const Arguments& a) { return {a.x, a.y, a.z, a.dims}; }

// What a group of samples on one map needs.
struct Group {
    Sizes size;
    Source source;
    float sharpness;
    const float* shares;  // rows of padded length: p^power, or its logarithm when cold
    float* places[3];     // four rows of padded length for each axis
    float* pulls;         // four rows: x's part of a cell's gradient
    float* gradient;      // as shares
};

PUNCTUM_INLINE Floats exponential(Floats u) { return -log_normal(u); }

template <int MODE>
PUNCTUM_INLINE Floats weight(Floats share, Floats u, float sharpness, float reference) {
    const Floats e = exponential(u);
    if (MODE == INVERSE) return share / e;
    if (MODE == INVERSE_SQUARE) return share / (e * e);
    const Floats logarithm = -sharpness * log_normal(e);
    return MODE == WARM ? share * exp(logarithm) : exp(share + logarithm - reference);
}

// Calls f(vector's place in the row, share, U of the samples) along a row.
template <class F>
PUNCTUM_INLINE void along(const Group& g, int64_t row, const F& f) {
    const float* shares = g.shares + row * g.size.padded();
    for (int64_t i = 0; i < g.size.x; i += LANES)
        f(i, load(shares + i), uniforms(g.source, (uint32_t)(row * g.size.x + i), 0));
}

template <int COUNT>
void highest(const Group& g, float* found) {
    Floats best[COUNT];
    for (int k = 0; k < COUNT; k++) best[k] = splat(-__builtin_inff());
    for (int64_t row = 0; row < g.size.rows(); row++)
        along(g, row, [&](int64_t, Floats share, const Uniforms& u) {
            for (int k = 0; k < COUNT; k++) {
                const Floats v = share - g.sharpness * log_normal(exponential(u.of[k]));
                best[k] = choose(v > best[k], v, best[k]);
            }
        });
    for (int k = 0; k < COUNT; k++) {
        found[k] = best[k][0];
        for (int lane = 1; lane < LANES; lane++)
            if (best[k][lane] > found[k]) found[k] = best[k][lane];
    }
}

// Sums of weights and of weighted places of COUNT samples; results for the first `wanted` of them.
template <int MODE, int COUNT>
void draw(const Group& g, int wanted, float* coords, float* saved) {
    const Sizes& size = g.size;
    float reference[COUNT] = {};
    if (MODE == COLD) highest<COUNT>(g, reference);
    const int64_t some = rows_in_float(size), padded_y = padded(size.y), padded_z = padded(size.z);
    Total total[COUNT], sums[3][COUNT];
    for (int64_t row = 0; row < size.rows(); row++) {
        Floats weights[COUNT] = {}, x[COUNT] = {};
        along(g, row, [&](int64_t i, Floats share, const Uniforms& u) {
            for (int k = 0; k < COUNT; k++) {
                const Floats w = weight<MODE>(share, u.of[k], g.sharpness, reference[k]);
                weights[k] += w;
                x[k] += w * load(g.places[0] + k * size.padded() + i);
            }
        });
        for (int k = 0; k < COUNT; k++) {
            total[k].near += weights[k];
            sums[0][k].near += x[k];
            sums[1][k].near += weights[k] * g.places[1][k * padded_y + row % size.y];
            sums[2][k].near += weights[k] * g.places[2][k * padded_z + row / size.y];
            if (row % some == some - 1) {
                total[k].flush();
                for (int axis = 0; axis < 3; axis++) sums[axis][k].flush();
            }
        }
    }
    for (int k = 0; k < wanted; k++) {
        const double all = total[k].value();
        saved[k] = (float)(MODE == COLD ? reference[k] + __builtin_log(all) : 1.0 / all);
        for (int64_t axis = 0; axis < size.dims; axis++)
            coords[k * size.dims + axis] = (float)(sums[axis][k].value() / all);
    }
}

// Adds w (a - A), up to the factors that all samples share, to the gradient.
template <int MODE, int COUNT>
void pull(const Group& g, int wanted, const float* coords, const float* saved, const float* up) {
    const Sizes& size = g.size;
    const int64_t padded_y = padded(size.y), padded_z = padded(size.z);
    float reference[COUNT], slope[3][COUNT] = {}, middle[3][COUNT] = {};
    for (int k = 0; k < COUNT; k++) reference[k] = __builtin_inff();  // samples that are not wanted weigh nothing
    for (int k = 0; k < wanted; k++) {
        if (MODE == COLD) reference[k] = saved[k];
        for (int64_t axis = 0; axis < size.dims; axis++) {
            slope[axis][k] = up[k * size.dims + axis] * (MODE == COLD ? 1.0f : saved[k]);
            middle[axis][k] = coords[k * size.dims + axis];
        }
    }
    for (int k = 0; k < COUNT; k++)
        for (int64_t i = 0; i < size.padded(); i += LANES) {
            const int64_t at = k * size.padded() + i;
            store(g.pulls + at, slope[0][k] * (load(g.places[0] + at) - middle[0][k]));
        }
    for (int64_t row = 0; row < size.rows(); row++) {
        float constant[COUNT];
        for (int k = 0; k < COUNT; k++)
            constant[k] = slope[1][k] * (g.places[1][k * padded_y + row % size.y] - middle[1][k]) +
                          slope[2][k] * (g.places[2][k * padded_z + row / size.y] - middle[2][k]);
        float* gradient = g.gradient + row * size.padded();
        along(g, row, [&](int64_t i, Floats share, const Uniforms& u) {
            Floats sum = load(gradient + i);
            for (int k = 0; k < COUNT; k++)
                sum += weight<MODE>(share, u.of[k], g.sharpness, reference[k]) *
                       (load(g.pulls + k * size.padded() + i) + constant[k]);
            store(gradient + i, sum);
        });
    }
}

void find_places(const Group& g, int32_t basis) {
    for (int64_t axis = 0; axis < 3; axis++) {
        const int64_t n = g.size.axis(axis), stride = padded(n);
        for (int64_t j = 0; j < n; j += LANES) {
            if (axis >= g.size.dims) {
                for (int k = 0; k < 4; k++) store(g.places[axis] + k * stride + j, Floats{});
                continue;
            }
            const Uniforms offset = offsets(g.source, j, (int)axis, basis);
            Floats centres;
            for (int lane = 0; lane < LANES; lane++) centres[lane] = centre(j + lane, n);
            for (int k = 0; k < 4; k++)
                store(g.places[axis] + k * stride + j, centres + offset.of[k] * (float)(2.0 / n));
        }
    }
}

// p^power of each cell relative to the most probable one's, zero past the end of a row. False: an empty map, flat.
template <class T>
bool find_shares(const Arguments& a, int64_t m, bool cold, float* shares) {
    const Sizes size = sizes(a);
    const T* logits = (const T*)a.logits;
    const Map<T> map{logits + m * size.cells(), logits + a.maps * size.cells(), a.beta};
    const Peak peak = find_peak<false>(map, size.cells());
    for (int64_t row = 0; row < size.rows(); row++)
        for (int64_t i = 0; i < size.x; i += LANES) {
            Floats v = peak.empty ? Floats{} : a.power * map.below(peak.value, row * size.x + i);
            v = first(size.x - i, v, -__builtin_inff());
            store(shares + row * size.padded() + i, cold ? v : exp(v));
        }
    return !peak.empty;
}

bool shares_of(const Arguments& a, int64_t m, bool cold, float* shares) {
    if (a.dtype == FLOAT32) return find_shares<float>(a, m, cold, shares);
    if (a.dtype == BFLOAT16) return find_shares<BFloat16>(a, m, cold, shares);
    return find_shares<Float16>(a, m, cold, shares);
}

template <class T>
void write(const Arguments& a, int64_t m, const float* from) {
    const Sizes size = sizes(a);
    T* gradient = (T*)a.gradient + m * size.cells();
    for (int64_t row = 0; row < size.rows(); row++)
        for (int64_t i = 0; i < size.x; i += LANES)
            store_before(gradient + row * size.x + i, (const T*)gradient + size.cells(),
                         a.beta * a.power * load(from + row * size.padded() + i));
}

template <int MODE, int COUNT>
void run(const Arguments& a, const Group& g, int wanted, int64_t sample) {
    float *coords = a.coords + sample * a.dims, *saved = a.saved + sample;
    if (a.gradient)
        pull<MODE, COUNT>(g, wanted, coords, saved, a.up + sample * a.dims);
    else
        draw<MODE, COUNT>(g, wanted, coords, saved);
}

template <int MODE>
void run_samples(const Arguments& a, Group& g, int64_t m) {
    for (int64_t n = 0; n < a.samples; n += 4) {
        const int wanted = a.samples - n < 4 ? (int)(a.samples - n) : 4;
        g.source.group = (uint32_t)(n / 4);
        find_places(g, a.basis);
        const int64_t sample = m * a.samples + n;
        if (wanted == 1) run<MODE, 1>(a, g, wanted, sample);
        else if (wanted == 2) run<MODE, 2>(a, g, wanted, sample);
        else run<MODE, 4>(a, g, wanted, sample);
    }
}

void work(const Arguments& a, int64_t begin, int64_t end) {
    const Sizes size = sizes(a);
    const Mode mode = mode_of(a.sharpness);
    const int64_t area = size.rows() * size.padded(), x = size.padded(), y = padded(size.y), z = padded(size.z);
    Workspace shares(area), gradient(a.gradient ? area : 1), tables(4 * (2 * x + y + z));
    float* const t = tables.memory;
    Group g{size, {}, a.sharpness, shares.memory, {t, t + 4 * x, t + 4 * (x + y)}, t + 4 * (x + y + z), gradient.memory};
    for (int64_t m = begin; m < end; m++) {
        const bool told = shares_of(a, m, mode == COLD, shares.memory);
        g.source = {{{(uint32_t)*a.seed, (uint32_t)((uint64_t)*a.seed >> 32)}}, 0, (uint32_t)m};
        if (a.gradient) __builtin_memset(gradient.memory, 0, area * sizeof(float));
        if (told || !a.gradient) {
            if (mode == INVERSE) run_samples<INVERSE>(a, g, m);
            if (mode == INVERSE_SQUARE) run_samples<INVERSE_SQUARE>(a, g, m);
            if (mode == WARM) run_samples<WARM>(a, g, m);
            if (mode == COLD) run_samples<COLD>(a, g, m);
        }
        if (!a.gradient) continue;
        if (a.dtype == FLOAT32) write<float>(a, m, gradient.memory);
        if (a.dtype == BFLOAT16) write<BFloat16>(a, m, gradient.memory);
        if (a.dtype == FLOAT16) write<Float16>(a, m, gradient.memory);
    }
}

}  // namespace
}  // namespace PUNCTUM_LEVEL
}  // namespace punctum

PUNCTUM_KERNEL(sampling) { work(*(const Arguments*)args, begin, end); }
