// A library that a test loads when its pool is there already.
extern "C" int loaded_later(int x);
extern "C" int loaded_later(int x) { return x + 1; }
