// expect: cannot take apart to bring it back from a worker
#include <memory>

#include <forkmap/forkmap.hpp>

#ifdef CONTROL
std::unique_ptr<int> three_numbers() { return std::make_unique<int>(3); }
#else
std::unique_ptr<int[]> three_numbers() { return std::make_unique<int[]>(3); }
#endif

int main() { forkmap::parallel(2)(three_numbers); }
