// The log density of mixtures of Gaussians at many points.
#include "vector.h"

namespace punctum {
namespace PUNCTUM_LEVEL {
namespace {

struct Arguments {
    const float* heights;   // maps x components
    const float* means;     // maps x components x dims
    const float* forms;     // maps x groups x dims (dims + 1) / 2
    const int64_t* counts;  // components of each group
    const float* points;    // maps x points x dims
    float* logs;            // maps x points
    int64_t components, groups, points_of_map, dims;
};

template <int DIMS>
constexpr int FORMS = DIMS*(DIMS + 1) / 2;

// One map's components side by side, each row as long as whole vectors are: heights, means, forms, room for the terms.
template <int DIMS>
struct Components {
    float* rows;
    int64_t length;

    PUNCTUM_MEMBER float* height() const { return rows; }
    PUNCTUM_MEMBER float* mean(int d) const { return rows + (1 + d) * length; }
    PUNCTUM_MEMBER float* form(int f) const { return rows + (1 + DIMS + f) * length; }
    PUNCTUM_MEMBER float* term() const { return rows + (1 + DIMS + FORMS<DIMS>) * length; }

    void read(const Arguments& a, int64_t map) const {
        int64_t m = 0;
        for (int64_t g = 0; g < a.groups; g++) {
            const float* form_of = a.forms + (map * a.groups + g) * FORMS<DIMS>;
            for (int64_t i = 0; i < a.counts[g]; i++, m++) {
                const int64_t at = map * a.components + m;
                height()[m] = a.heights[at];
                for (int d = 0; d < DIMS; d++) mean(d)[m] = a.means[at * DIMS + d];
                for (int f = 0; f < FORMS<DIMS>; f++) form(f)[m] = form_of[f];
            }
        }
        for (; m < length; m++) {
            height()[m] = -__builtin_inff();
            for (int d = 0; d < DIMS; d++) mean(d)[m] = 0;
            for (int f = 0; f < FORMS<DIMS>; f++) form(f)[m] = 0;
        }
    }

    PUNCTUM_MEMBER float log_sum(const float* point) const {
        Floats highest = splat(-__builtin_inff());
        for (int64_t i = 0; i < length; i += LANES) {
            Floats offset[DIMS], log = load(height() + i);
            for (int d = 0; d < DIMS; d++) offset[d] = point[d] - load(mean(d) + i);
            for (int d = 0, f = 0; d < DIMS; d++)
                for (int e = 0; e <= d; e++, f++) log += load(form(f) + i) * offset[d] * offset[e];
            store(term() + i, log);
            highest = choose(log > highest, log, highest);
        }
        const float top = largest(highest);
        // Farther than numbers go.
        if (!(top > -__builtin_inff())) return point_is_number(point) ? -3.40282347e38f : __builtin_nanf("");
        Floats total = {};
        for (int64_t i = 0; i < length; i += LANES) total += exp_share(load(term() + i) - top);
        return top + log_normal(splat((float)sum(widen(total))))[0];
    }

    static PUNCTUM_MEMBER bool point_is_number(const float* point) {
        bool number = true;
        for (int d = 0; d < DIMS; d++) number = number && point[d] == point[d];
        return number;
    }
};

template <int DIMS>
void log_density(const Arguments& a, int64_t begin, int64_t end) {
    const int64_t length = (a.components + LANES - 1) / LANES * LANES;
    Workspace space((2 + DIMS + FORMS<DIMS>)*length);
    const Components<DIMS> components{space.memory, length};
    for (int64_t map = begin; map < end; map++) {
        components.read(a, map);
        for (int64_t n = 0; n < a.points_of_map; n++) {
            const int64_t at = map * a.points_of_map + n;
            a.logs[at] = components.log_sum(a.points + at * DIMS);
        }
    }
}

}  // namespace
}  // namespace PUNCTUM_LEVEL
}  // namespace punctum

PUNCTUM_KERNEL(mixture) {
    const Arguments& a = *(const Arguments*)args;
    if (a.dims == 1) return log_density<1>(a, begin, end);
    if (a.dims == 2) return log_density<2>(a, begin, end);
    return log_density<3>(a, begin, end);
}
