#include <future>
#include <regex>

#include <forkmap/forkmap.hpp>
