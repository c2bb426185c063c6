/* Everything written once over the vector layer, in the order it builds up. Included by the instances alone. */
#include "math/exp.h"
#include "math/log1p.h"
#include "stats.h"
#include "maps.h"
#include "losses.h"
#include "derivatives.h"
#include "turn.h"
#include "instance.h"
