// Replacements that make a fork under clang's AddressSanitizer as cheap as under g++'s. clang's
// runtime takes each of the million locks of its stack depot before a fork and releases them in
// parent and child, which takes 16 ms. The linker's --wrap replaces these two functions, so that no
// lock is taken, as in g++'s runtime. main.cpp describes the deadlock that remains possible and why
// it is rare. If the runtime uses other names for the functions, the replacements are not called.
// SPDX-License-Identifier: MIT

extern "C" {
void __wrap__ZN11__sanitizer24StackDepotLockBeforeForkEv() {}
void __wrap__ZN11__sanitizer25StackDepotUnlockAfterForkEb(bool) {}
}
