// A parser as they were written in 1993. It keeps its state in globals, recurses as deep as its
// input says, trusts it, and ends the program when it does not like it.
#pragma once

namespace legacy {

/// The sum of a document: "doc (1 2 (3 4) $two)", where $two is the name of a number.
double parse(char const* document);

}  // namespace legacy
