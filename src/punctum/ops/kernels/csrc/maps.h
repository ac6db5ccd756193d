// A map of logits: its cells row by row, its peak, and sums over its softmax.
//
// Rows are read a vector at a time. The last vector of a row may reach into the next one: what it finds there is
// masked, and what it writes there is overwritten when that row's turn comes.
#pragma once

#include "vector.h"

namespace punctum {
namespace PUNCTUM_LEVEL {

enum Dtype : int32_t { FLOAT32, BFLOAT16, FLOAT16 };

// Numbers of cells, x first; axes that a map lacks have one.
struct Sizes {
    int64_t x, y, z, dims;
    int64_t rows() const { return y * z; }
    int64_t cells() const { return x * y * z; }
    int64_t padded() const { return (x + LANES - 1) / LANES * LANES; }
    int64_t axis(int a) const { return a == 0 ? x : a == 1 ? y : z; }
};

PUNCTUM_INLINE float centre(int64_t i, int64_t n) { return (float)((2.0 * i + 1.0) / n - 1.0); }
PUNCTUM_INLINE int64_t padded(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

// Lanes from n on hold `other`.
PUNCTUM_INLINE Floats first(int64_t n, Floats v, float other) {
    return n >= LANES ? v : choose(lane_numbers() < (int32_t)n, v, splat(other));
}

// Elements from `from` on; lanes past the end hold anything.
template <class T>
PUNCTUM_INLINE Floats load_before(const T* from, const T* end) {
    if (end - from >= LANES) return load(from);
    T part[LANES] = {};
    __builtin_memcpy(part, from, (end - from) * sizeof(T));
    return load(part);
}

template <class T>
PUNCTUM_INLINE void store_before(T* to, const T* end, Floats v) {
    if (end - to >= LANES) return store(to, v);
    T part[LANES];
    store(part, v);
    __builtin_memcpy(to, part, (end - to) * sizeof(T));
}

// Lanes summed up in float for a while, then in double: exact enough for maps of any size.
struct Total {
    Floats near = {};
    Doubles far = {};
    PUNCTUM_MEMBER void flush() {
        far += widen(near);
        near = Floats{};
    }
    PUNCTUM_MEMBER double value() {
        flush();
        return sum(far);
    }
};

constexpr int64_t VECTORS_IN_FLOAT = 256;

PUNCTUM_INLINE int64_t rows_in_float(const Sizes& size) {
    int64_t rows = VECTORS_IN_FLOAT * LANES / size.padded();
    return rows < 1 ? 1 : rows;
}

// One map's logits, and where readable memory ends.
template <class T>
struct Map {
    const T* logits;
    const T* end;
    float beta;
    PUNCTUM_MEMBER Floats at(int64_t i) const { return load_before(logits + i, end); }
    // Not beta z - beta peak: fused, its product is not rounded, and at logits of 1e30 the rounding of the other is huge.
    PUNCTUM_MEMBER Floats below(float peak, int64_t i) const { return beta * (at(i) - peak); }
};

// What stands in for a map of nothing but -inf: logits of zero, made when the first such map comes.
template <class T>
struct Uniform {
    ~Uniform() { delete space; }
    const T* logits(int64_t cells) {
        if (!space) {
            space = new Workspace(cells);
            __builtin_memset(space->memory, 0, cells * sizeof(T));
        }
        return (const T*)space->memory;
    }
    Workspace* space = nullptr;
};

struct Peak {
    float value;
    int64_t cell;
    bool empty;  // nothing but -inf
};

// The largest logit, and (for what is about it) the cell where it is. NaN does not count here; sums tell it.
template <bool WHERE, class T>
PUNCTUM_INLINE Peak find_peak(const Map<T>& map, int64_t cells) {
    const float lowest = -__builtin_inff();
    Floats best = splat(lowest), other = best;
    Ints at = lane_numbers() - lane_numbers(), here = lane_numbers();
    int64_t i = 0;
    for (; !WHERE && i + 2 * LANES <= cells; i += 2 * LANES) {
        Floats a = map.at(i), b = map.at(i + LANES);
        best = choose(a > best, a, best);
        other = choose(b > other, b, other);
    }
    for (; i < cells; i += LANES) {
        Floats v = first(cells - i, map.at(i), lowest);
        if (WHERE) at = (v > best) ? here + (int32_t)i : at;
        best = choose(v > best, v, best);
    }
    best = choose(other > best, other, best);
    Peak peak{largest(best), 0, false};
    for (int lane = 0; WHERE && lane < LANES; lane++)
        if (best[lane] == peak.value) peak.cell = at[lane];
    if (peak.value > lowest) return peak;
    peak = {0.0f, 0, true};
    for (int64_t cell = 0; cell < cells; cell += LANES) {
        Floats v = first(cells - cell, map.at(cell), lowest);
        for (int lane = 0; lane < LANES; lane++) peak.empty = peak.empty && v[lane] == v[lane];
    }
    return peak;
}

// Sums of the softmax before division, in coordinates about `about`.
struct Sums {
    double total, x, y, z, xx, xy, yy, xz, yz, zz;
};

// Centres of the cells of each axis, padded with zeros, and the point that coordinates are about.
struct Centres {
    const float* axes[3];
    float about[3];
};

PUNCTUM_INLINE int64_t centres_floats(const Sizes& size) { return padded(size.x) + padded(size.y) + padded(size.z); }

PUNCTUM_INLINE Centres centres_in(float* memory, const Sizes& size) {
    Centres centres = {};
    for (int axis = 0; axis < 3; axis++) {
        const int64_t n = size.axis(axis);
        for (int64_t i = 0; i < padded(n); i++) memory[i] = i < n ? centre(i, n) : 0.0f;
        centres.axes[axis] = memory;
        memory += padded(n);
    }
    return centres;
}

// A row of cells: its number, and where it lies along y and z.
struct Row {
    int64_t number, y, z;
    PUNCTUM_MEMBER void next(const Sizes& size) {
        number++;
        if (++y == size.y) y = 0, z++;
    }
};

// With `kept`, the exponentials themselves go there, each row padded with zeros. `more` sees each vector of them.
template <int ORDER, class T, class More>
PUNCTUM_INLINE Sums add_up(const Map<T>& map, const Sizes& size, float peak, const Centres& centres, float* kept,
                           More&& more) {
    Total t, x, y, z, xx, xy, yy, xz, yz, zz;
    const float *xs = centres.axes[0], ax = centres.about[0];
    const int64_t together = rows_in_float(size);
    int64_t waiting = 0;
    for (Row row = {}; row.number < size.rows(); row.next(size)) {
        Floats r0 = {}, r1 = {}, r2 = {};
        auto cells = [&](int64_t i, Floats below) __attribute__((always_inline)) {
            Floats e = exp_share(below);
            if (kept) store(kept + row.number * size.padded() + i, e);
            Floats dx = load(xs + i) - ax;
            r0 += e;
            r1 += e * dx;
            if (ORDER == 2) r2 += e * dx * dx;
            more(row, i, e, below);
        };
        const int64_t start = row.number * size.x;
        int64_t i = 0;
        for (; i + LANES <= size.x; i += LANES) cells(i, map.below(peak, start + i));
        if (i < size.x) cells(i, first(size.x - i, map.below(peak, start + i), -__builtin_inff()));
        const float dy = centres.axes[1][row.y] - centres.about[1];
        const float dz = centres.axes[2][row.z] - centres.about[2];
        t.near += r0;
        x.near += r1;
        y.near += r0 * dy;
        z.near += r0 * dz;
        if (ORDER == 2) {
            xx.near += r2;
            xy.near += r1 * dy;
            xz.near += r1 * dz;
            yy.near += r0 * (dy * dy);
            yz.near += r0 * (dy * dz);
            zz.near += r0 * (dz * dz);
        }
        if (++waiting == together) {
            waiting = 0;
            t.flush(), x.flush(), y.flush(), z.flush();
            if (ORDER == 2) xx.flush(), xy.flush(), yy.flush(), xz.flush(), yz.flush(), zz.flush();
        }
    }
    Sums sums = {t.value(), x.value(), y.value(), size.z > 1 ? z.value() : 0.0};
    if (ORDER == 1) return sums;
    sums.xx = xx.value(), sums.xy = xy.value(), sums.yy = yy.value();
    if (size.z > 1) sums.xz = xz.value(), sums.yz = yz.value(), sums.zz = zz.value();
    return sums;
}

// Mean and covariance of a map's softmax. 3 x 3 whatever the number of axes.
struct Moments {
    double mean[3];
    double covariance[3][3];
    double log_total;
};

PUNCTUM_INLINE Moments moments_of(const Sums& s, const Centres& centres) {
    const double m[3] = {s.x / s.total, s.y / s.total, s.z / s.total};
    const double raw[3][3] = {{s.xx, s.xy, s.xz}, {s.xy, s.yy, s.yz}, {s.xz, s.yz, s.zz}};
    Moments found;
    for (int i = 0; i < 3; i++) {
        found.mean[i] = centres.about[i] + m[i];
        for (int j = 0; j < 3; j++) found.covariance[i][j] = raw[i][j] / s.total - m[i] * m[j];
    }
    found.log_total = __builtin_log(s.total);
    return found;
}

// Coordinates about the peak: second moments about a far point would lose what small spreads are made of.
PUNCTUM_INLINE Centres about_peak(Centres centres, const Sizes& size, const Peak& peak) {
    const int64_t row = peak.cell / size.x;
    const int64_t at[3] = {peak.cell % size.x, row % size.y, row / size.y};
    for (int axis = 0; axis < 3; axis++) centres.about[axis] = centres.axes[axis][at[axis]];
    return centres;
}

// c_i = constant + linear . d + d^T quadratic d with d = x_i - mean: how a loss changes with the share of a cell.
struct Slope {
    float constant, linear[3], quadratic[3][3], mean[3];
};

struct RowSlope {
    float k0, k1, k2;
    PUNCTUM_MEMBER Floats at(Floats dx) const { return k0 + dx * (k1 + k2 * dx); }
};

PUNCTUM_INLINE RowSlope on_row(const Slope& s, const Centres& centres, const Row& row) {
    const float y = centres.axes[1][row.y] - s.mean[1], z = centres.axes[2][row.z] - s.mean[2];
    const auto& q = s.quadratic;
    return {s.constant + y * (s.linear[1] + q[1][1] * y + (q[1][2] + q[2][1]) * z) + z * (s.linear[2] + q[2][2] * z),
            s.linear[0] + (q[0][1] + q[1][0]) * y + (q[0][2] + q[2][0]) * z, q[0][0]};
}

}  // namespace PUNCTUM_LEVEL
}  // namespace punctum
