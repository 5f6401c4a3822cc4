// Types that compilers look into only where they are used.
#pragma once

namespace forkmap::detail {

template <class T, class Lazy> struct lazy_type {
  using type = T;
};
/// T. In a template of Lazy, std::optional<lazily<T, Lazy>> is instantiated with the template; a
/// std::optional<T> is as soon as the template is read, by everything that includes forkmap.
template <class T, class Lazy> using lazily = typename lazy_type<T, Lazy>::type;

}  // namespace forkmap::detail
