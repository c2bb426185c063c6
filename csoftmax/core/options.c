/* The ranges of the options of a call, which are checked here alone. Includes plan.h. */
#include "plan.h"

#include <math.h>

static csm_status refuse(csm_call *c, const char *option, const char *range, double value, ptrdiff_t row)
{
    c->bad_option = option;
    c->range = range;
    c->bad_value = value;
    c->bad_row = row;
    return CSM_BAD_OPTION;
}

static int is_positive(double v) { return v > 0 && v < INFINITY; }
static int is_not_negative(double v) { return v >= 0 && v < INFINITY; }

static csm_status check_temperature(csm_call *c, double value, ptrdiff_t row)
{
    return is_positive(value) ? CSM_OK : refuse(c, "temperature", "positive and finite", value, row);
}

/* In C order; along an axis on which they stand still one is enough. */
csm_status csm_check_temperatures(csm_call *c)
{
    const csm_array *t = &c->temperatures;
    const int outer = c->ndim ? c->ndim - 1 : 0;
    const ptrdiff_t inner = c->ndim ? c->shape[outer] : 1, step = c->ndim ? t->stride[outer] : 0;
    ptrdiff_t rows = inner;
    for (int i = 0; i < outer; i++)
        rows = csm_times(rows, c->shape[i]);
    for (ptrdiff_t row = 0; row < rows; row += inner) {
        const char *line = (const char *)t->data + offset_of(row / inner, outer, c->shape, t->stride);
        for (ptrdiff_t i = 0; i < (step ? inner : 1); i++)
            if (check_temperature(c, *(const double *)(line + i * step), row + i) != CSM_OK)
                return CSM_BAD_OPTION;
    }
    return CSM_OK;
}

static csm_status check_focal_gamma(csm_call *c)
{
    const double gamma = c->focal_gamma;
    const char *range = !is_not_negative(gamma) ? "finite and not negative" : gamma == 0 ? NULL
                      : c->g.data || c->prob.data ? "0 with target probabilities: it is for class indices alone"
                      : c->label_smoothing != 0 ? "0 with label_smoothing" : c->z_loss != 0 ? "0 with z_loss" : NULL;
    return range ? refuse(c, "focal_gamma", range, gamma, -1) : CSM_OK;
}

csm_status csm_check_options(csm_call *c)
{
    if (check_temperature(c, c->temperature, -1) != CSM_OK)
        return CSM_BAD_OPTION;
    if (!(c->label_smoothing >= 0 && c->label_smoothing <= 1))
        return refuse(c, "label_smoothing", "in [0, 1]", c->label_smoothing, -1);
    if (!isfinite(c->z_loss))
        return refuse(c, "z_loss", "finite", c->z_loss, -1);
    if (c->has_softcap && !is_positive(c->softcap))
        return refuse(c, "softcap", "positive and finite", c->softcap, -1);
    if (c->has_normalizer && !isfinite(c->normalizer))
        return refuse(c, "normalizer", "finite and not 0", c->normalizer, -1);
    if (!is_not_negative(c->hessian_floor))
        return refuse(c, "hessian_floor", "finite and not negative", c->hessian_floor, -1);
    return check_focal_gamma(c);
}

csm_status csm_check_normalizer(csm_call *c, ptrdiff_t valid)
{
    const int bad = c->has_normalizer && c->normalizer == 0 && valid;
    return bad ? refuse(c, "normalizer", "finite and not 0 where a row counts", 0, -1) : CSM_OK;
}
