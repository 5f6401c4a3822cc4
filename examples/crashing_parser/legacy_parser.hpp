// A parser in the style of 1993. It keeps its state in globals, recurses as deep as its input, does
// not check the input, and exits the program on an error.
// SPDX-License-Identifier: MIT
#pragma once

namespace legacy {

/// The sum of a document: "doc (1 2 (3 4) $two)", where $two is the name of a number.
double parse(char const* document);

}  // namespace legacy
