// What the program gives: options, weights and pictures.
#pragma once

#include "runtime/pair.h"
#include "stylogram/stylogram.hpp"

namespace stylogram::runtime {

/// The options. Throws Error for what is not accepted.
const Options& checked(const Options& options);
/// The pair's plan with the weights that the options have in place of its own. Throws Error where nothing is weighted.
Plan plan_of(Plan plan, const Options& options);
/// Throws Error unless all values are finite, and in [0,1] where that is asked for.
void check_values(const char* what, const Pictures& pictures, bool bounded);

}  // namespace stylogram::runtime
