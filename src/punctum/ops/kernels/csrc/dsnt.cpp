// DSNT's loss: the distance of the mean from the truth, and the shape of the map against a Gaussian there.
//
// With p the softmax, G the Gaussian, a = log p, b = log G, the gradient is beta p_i (c_i - sum_j p_j c_j):
//
//     js                (a_i - log(p_i + G_i)) / 2
//     kl                a_i - b_i
//     kl_from_gaussian  beta (p_i - G_i) in all
//     mean, variance    polynomials of the cell's place (Slope)
#include "maps.h"

namespace punctum {
namespace PUNCTUM_LEVEL {
namespace {

enum Shape : int32_t { NONE, VARIANCE, KL, JS, KL_FROM_GAUSSIAN };

struct Arguments {
    const void* logits;   // maps x cells
    void* gradient;       // the same, or null
    const float* target;  // maps x dims
    float* distance;      // maps
    float* shape;         // maps
    float* saved;         // maps x SAVED
    const float* up_distance;
    const float* up_shape;
    int64_t maps, dims, x, y, z;
    float beta, sigma;
    int32_t dtype, regularizer, euclidean, pixels;
};

// What waits for the backward pass: peak (-inf: an empty map), log of the sum, the mean of c, mean, variances.
constexpr int64_t SAVED = 9;

constexpr float LEAST = -200.0f;  // a logarithm below this is of nothing: 0 log 0 = 0
constexpr float TINY = 1.17549435e-38f;

// The Gaussian is a product over axes, each normalized on its own: logarithms and values, padded with zeros.
struct Axis {
    float *log, *value;
};

struct Plane {
    Axis axes[3];
    Centres centres;
    float* kept;
};

PUNCTUM_INLINE int64_t plane_floats(const Sizes& size, bool keep) {
    return 3 * centres_floats(size) + (keep ? size.rows() * size.padded() : 0);
}

Plane plane_in(float* memory, const Sizes& size) {
    Plane plane;
    plane.centres = centres_in(memory, size);
    memory += centres_floats(size);
    for (int axis = 0; axis < 3; axis++) {
        const int64_t n = padded(size.axis(axis));
        plane.axes[axis] = {memory, memory + n};
        memory += 2 * n;
        // An axis that the map lacks has one cell, and all of the mass.
        if (axis >= size.dims) plane.axes[axis].log[0] = 0.0f, plane.axes[axis].value[0] = 1.0f;
    }
    plane.kept = memory;
    return plane;
}

// As ops.log_gaussian: measured from the map's point nearest to the mean, so that far out nothing is rounded away.
void draw_axis(const Axis& axis, const float* centres, int64_t n, float mean, float sigma) {
    const float farthest = 1e12f, scale = n * 0.5f / sigma, edge = 1.0f - 1.0f / n, lowest = -__builtin_inff();
    mean = mean < -farthest ? -farthest : mean > farthest ? farthest : mean;
    const float nearest = mean < -edge ? -edge : mean > edge ? edge : mean;
    const float beyond = (nearest - mean) * scale;
    // The largest is at the cell that is nearest; NaN has none, and any will do.
    const float place = (nearest + 1.0f) * 0.5f * n;
    const int64_t cell = place >= n ? n - 1 : place > 0 ? (int64_t)place : 0;
    const float least = (centres[cell] - nearest) * scale, peak = -0.5f * least * (least + 2.0f * beyond);
    Floats total = {};
    for (int64_t i = 0; i < n; i += LANES) {
        const Floats offset = (load(centres + i) - nearest) * scale;
        const Floats term = first(n - i, -0.5f * offset * (offset + 2.0f * beyond) - peak, lowest);
        const Floats e = exp_share(term);
        total += e;
        store(axis.log + i, term);
        store(axis.value + i, e);
    }
    const double all = sum(widen(total));
    const float log_total = (float)__builtin_log(all), share = (float)(1.0 / all);
    for (int64_t i = 0; i < n; i += LANES) {
        store(axis.log + i, first(n - i, load(axis.log + i) - log_total, 0.0f));
        store(axis.value + i, load(axis.value + i) * share);
    }
}

void draw(const Plane& plane, const Sizes& size, const float* target, float sigma) {
    for (int axis = 0; axis < size.dims; axis++)
        draw_axis(plane.axes[axis], plane.centres.axes[axis], size.axis(axis), target[axis], sigma);
}

// What a row shares: logarithm and value of the Gaussian along the other axes.
struct RowOf {
    float log, value;
};

PUNCTUM_INLINE RowOf row_of(const Plane& plane, const Row& row) {
    return {plane.axes[1].log[row.y] + plane.axes[2].log[row.z], plane.axes[1].value[row.y] * plane.axes[2].value[row.z]};
}

struct Divergence {
    double value, mean_slope;  // mean_slope: sum_i p_i c_i
};

// From the kept exponentials and the logits again: sum p (a - log(p + G)) and sum G (b - log(p + G)).
template <class T>
Divergence jensen_shannon(const Map<T>& map, const Sizes& size, float peak, double total, const Plane& plane) {
    const float share = (float)(1.0 / total), log_total = (float)__builtin_log(total);
    const int64_t together = rows_in_float(size);
    Total ours, theirs;
    for (Row row = {}; row.number < size.rows(); row.next(size)) {
        const RowOf g_row = row_of(plane, row);
        const float* kept = plane.kept + row.number * size.padded();
        Floats near_ours = {}, near_theirs = {};
        for (int64_t i = 0; i < size.x; i += LANES) {
            const Floats p = load(kept + i) * share;
            const Floats g = load(plane.axes[0].value + i) * g_row.value, b = load(plane.axes[0].log + i) + g_row.log;
            const Floats a = at_least(map.below(peak, row.number * size.x + i) - log_total, LEAST);
            const Floats log_sum = log_share(at_least(p + g, TINY));
            const Floats own = i + LANES <= size.x ? p * (a - log_sum) : first(size.x - i, p * (a - log_sum), 0.0f);
            near_ours += own;
            near_theirs += g * (b - log_sum);
        }
        ours.near += near_ours;
        theirs.near += near_theirs;
        if (row.number % together == together - 1) ours.flush(), theirs.flush();
    }
    const double mine = ours.value();
    return {0.5 * (mine + theirs.value()) + __builtin_log(2.0), 0.5 * mine};
}

// Distance of the mean from the target; `slope` is its gradient.
float distance_of(const float* mean, const float* target, int64_t dims, bool euclidean, float* slope) {
    double total = 0;
    for (int64_t i = 0; i < dims; i++) {
        const double d = (double)mean[i] - target[i];
        total += euclidean ? d * d : __builtin_fabs(d);
    }
    if (euclidean) total = __builtin_sqrt(total);
    for (int64_t i = 0; i < dims; i++) {
        const double d = (double)mean[i] - target[i];
        slope[i] = (float)(euclidean ? (total == 0 ? 0 : d / total) : d != d ? d : (d > 0) - (d < 0));
    }
    return (float)total;
}

// Half the gradient's width of a variance: 2 (Var - sigma^2) in the units that are compared.
PUNCTUM_INLINE double unit(const Arguments& a, const Sizes& size, int axis) {
    return a.pixels ? size.axis(axis) / 2.0 : 1.0;
}

PUNCTUM_INLINE double off_wanted(const Arguments& a, const Sizes& size, int axis, double variance) {
    const double u = unit(a, size, axis), wanted = a.sigma * u * 2.0 / size.axis(axis);
    return variance * u * u - wanted * wanted;
}

template <Shape SHAPE, class T>
Divergence shape_of(const Arguments& a, const Map<T>& map, const Sizes& size, const Peak& peak, const Plane& plane,
                    Moments& found) {
    const Centres centres = SHAPE == VARIANCE ? about_peak(plane.centres, size, peak) : plane.centres;
    Total crossed;  // of one row or a few, then in double
    double sum_crossed = 0;
    const int64_t together = rows_in_float(size);
    RowOf g_row = {};
    auto more = [&](const Row& row, int64_t i, Floats e, Floats below) __attribute__((always_inline)) {
        if (SHAPE != KL && SHAPE != KL_FROM_GAUSSIAN) return;
        if (i == 0) {
            g_row = row_of(plane, row);
            if (row.number % together == 0) crossed.flush();
        }
        const Floats b = load(plane.axes[0].log + i) + g_row.log, g = load(plane.axes[0].value + i) * g_row.value;
        if (SHAPE == KL) crossed.near += e * (at_least(below, LEAST) - b);
        if (SHAPE == KL_FROM_GAUSSIAN) crossed.near += choose(g > splat(0.0f), g * (b - below), g * b);
    };
    const Sums sums =
        add_up<(SHAPE == VARIANCE ? 2 : 1)>(map, size, peak.value, centres, SHAPE == JS ? plane.kept : nullptr, more);
    found = moments_of(sums, centres);
    if (SHAPE == JS) return jensen_shannon(map, size, peak.value, sums.total, plane);
    if (SHAPE == KL || SHAPE == KL_FROM_GAUSSIAN) sum_crossed = crossed.value();
    if (SHAPE == KL) return {sum_crossed / sums.total - found.log_total, sum_crossed / sums.total - found.log_total};
    if (SHAPE == KL_FROM_GAUSSIAN) return {sum_crossed + found.log_total, 0};
    Divergence none = {0, 0};
    for (int axis = 0; SHAPE == VARIANCE && axis < size.dims; axis++) {
        const double off = off_wanted(a, size, axis, found.covariance[axis][axis]);
        none.value += off * off;
    }
    return none;
}

template <Shape SHAPE, class T>
void forward(const Arguments& a, int64_t begin, int64_t end) {
    const Sizes size = {a.x, a.y, a.z, a.dims};
    const int64_t cells = size.cells(), dims = size.dims;
    Workspace space(plane_floats(size, SHAPE == JS));
    const Plane plane = plane_in(space.memory, size);
    Uniform<T> uniform;
    for (int64_t m = begin; m < end; m++) {
        Map<T> map{(const T*)a.logits + m * cells, (const T*)a.logits + a.maps * cells, a.beta};
        const Peak peak = find_peak<SHAPE == VARIANCE>(map, cells);
        if (peak.empty) map.logits = uniform.logits(cells), map.end = map.logits + cells;
        const float* target = a.target + m * dims;
        if (SHAPE != NONE && SHAPE != VARIANCE) draw(plane, size, target, a.sigma);
        Moments found;
        const Divergence divergence = shape_of<SHAPE>(a, map, size, peak, plane, found);
        float* saved = a.saved + m * SAVED;
        saved[0] = peak.empty ? -__builtin_inff() : peak.value;
        saved[1] = (float)found.log_total;
        saved[2] = (float)divergence.mean_slope;
        for (int axis = 0; axis < 3; axis++) {
            saved[3 + axis] = (float)found.mean[axis];
            saved[6 + axis] = (float)found.covariance[axis][axis];
        }
        float slope[3];
        a.distance[m] = distance_of(saved + 3, target, dims, a.euclidean, slope);
        a.shape[m] = (float)divergence.value;
    }
}

// The polynomial part of c.
Slope slope_of(const Arguments& a, const Sizes& size, int64_t m, float up_shape) {
    const float* saved = a.saved + m * SAVED;
    Slope slope = {};
    distance_of(saved + 3, a.target + m * size.dims, size.dims, a.euclidean, slope.linear);
    for (int axis = 0; axis < size.dims; axis++) {
        slope.mean[axis] = saved[3 + axis];
        slope.linear[axis] *= a.up_distance[m];
        if (a.regularizer != VARIANCE) continue;
        const double u = unit(a, size, axis), width = 2 * u * u * off_wanted(a, size, axis, saved[6 + axis]);
        slope.quadratic[axis][axis] = (float)(up_shape * width);
        slope.constant -= (float)(up_shape * width * saved[6 + axis]);
    }
    slope.constant -= up_shape * saved[2];
    return slope;
}

template <Shape SHAPE, class T>
void backward(const Arguments& a, int64_t begin, int64_t end) {
    const Sizes size = {a.x, a.y, a.z, a.dims};
    const int64_t cells = size.cells();
    Workspace space(plane_floats(size, false));
    const Plane plane = plane_in(space.memory, size);
    for (int64_t m = begin; m < end; m++) {
        const float *saved = a.saved + m * SAVED, up = SHAPE == NONE ? 0.0f : a.up_shape[m];
        const float peak = saved[0], log_total = saved[1];
        T* gradient = (T*)a.gradient + m * cells;
        // A masked point costs nothing; NaN in the map or the target stays NaN all the same.
        const bool flat = a.up_distance[m] == 0 && up == 0 && log_total - log_total + a.distance[m] == a.distance[m];
        if (flat || peak == -__builtin_inff()) {
            __builtin_memset(gradient, 0, cells * sizeof(T));
            continue;
        }
        const Map<T> map{(const T*)a.logits + m * cells, (const T*)a.logits + a.maps * cells, a.beta};
        const Slope slope = slope_of(a, size, m, up);
        if (SHAPE == KL || SHAPE == JS || SHAPE == KL_FROM_GAUSSIAN)
            draw(plane, size, a.target + m * size.dims, a.sigma);
        for (Row row = {}; row.number < size.rows(); row.next(size)) {
            const RowSlope along = on_row(slope, plane.centres, row);
            const RowOf g_row = SHAPE == NONE ? RowOf{} : row_of(plane, row);
            for (int64_t i = 0; i < size.x; i += LANES) {
                const int64_t at = row.number * size.x + i;
                const Floats log_p = map.below(peak, at) - log_total, p = exp_share(log_p);
                Floats c = along.at(load(plane.centres.axes[0] + i) - slope.mean[0]), more = {};
                const Floats g = load(plane.axes[0].value + i) * g_row.value;
                if (SHAPE == JS) c += 0.5f * up * (at_least(log_p, LEAST) - log_share(at_least(p + g, TINY)));
                if (SHAPE == KL) c += up * (at_least(log_p, LEAST) - load(plane.axes[0].log + i) - g_row.log);
                if (SHAPE == KL_FROM_GAUSSIAN) more = up * (p - g);
                store_before(gradient + at, (const T*)gradient + cells, a.beta * (p * c + more));
            }
        }
    }
}

template <Shape SHAPE>
void forward_of(const Arguments& a, int64_t begin, int64_t end) {
    if (a.dtype == FLOAT32) return forward<SHAPE, float>(a, begin, end);
    if (a.dtype == BFLOAT16) return forward<SHAPE, BFloat16>(a, begin, end);
    return forward<SHAPE, Float16>(a, begin, end);
}

template <Shape SHAPE>
void backward_of(const Arguments& a, int64_t begin, int64_t end) {
    if (a.dtype == FLOAT32) return backward<SHAPE, float>(a, begin, end);
    if (a.dtype == BFLOAT16) return backward<SHAPE, BFloat16>(a, begin, end);
    return backward<SHAPE, Float16>(a, begin, end);
}

}  // namespace
}  // namespace PUNCTUM_LEVEL
}  // namespace punctum

PUNCTUM_KERNEL(dsnt_forward) {
    const Arguments& a = *(const Arguments*)args;
    switch (a.regularizer) {
        case VARIANCE: return forward_of<VARIANCE>(a, begin, end);
        case KL: return forward_of<KL>(a, begin, end);
        case JS: return forward_of<JS>(a, begin, end);
        case KL_FROM_GAUSSIAN: return forward_of<KL_FROM_GAUSSIAN>(a, begin, end);
        default: return forward_of<NONE>(a, begin, end);
    }
}

PUNCTUM_KERNEL(dsnt_backward) {
    const Arguments& a = *(const Arguments*)args;
    switch (a.regularizer) {
        case KL: return backward_of<KL>(a, begin, end);
        case JS: return backward_of<JS>(a, begin, end);
        case KL_FROM_GAUSSIAN: return backward_of<KL_FROM_GAUSSIAN>(a, begin, end);
        case VARIANCE: return backward_of<VARIANCE>(a, begin, end);
        default: return backward_of<NONE>(a, begin, end);
    }
}
