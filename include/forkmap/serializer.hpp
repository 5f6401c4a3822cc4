// How a type of the user's own travels: specialise serializer<T> with save and load.
#pragma once

#include <forkmap/transfer/bytes.hpp>  // writer, reader, serializer
#include <forkmap/transfer/codec.hpp>  // writer::put, reader::get
