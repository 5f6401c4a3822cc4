#include <forkmap/future_error.hpp>
#include <forkmap/regex_error.hpp>
