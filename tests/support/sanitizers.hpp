// Constants that tell which sanitizer is active, for tests whose result depends on it.
// SPDX-License-Identifier: MIT
#pragma once

namespace support {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool address_sanitizer = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr bool address_sanitizer = true;
#else
inline constexpr bool address_sanitizer = false;
#endif
#else
inline constexpr bool address_sanitizer = false;
#endif

#if defined(__SANITIZE_THREAD__)
inline constexpr bool thread_sanitizer = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr bool thread_sanitizer = true;
#else
inline constexpr bool thread_sanitizer = false;
#endif
#else
inline constexpr bool thread_sanitizer = false;
#endif

/// Both sanitizers have shadow memory: forks are slow, and the size of the address space says
/// nothing about memory use.
inline constexpr bool shadow_memory = address_sanitizer || thread_sanitizer;

}  // namespace support
