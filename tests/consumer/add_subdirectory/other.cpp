// SPDX-License-Identifier: MIT
#include <forkmap/forkmap.hpp>

int workers_of_other();

int workers_of_other() { return forkmap::effective_n_jobs(-1); }
