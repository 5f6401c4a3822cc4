// Serialization of user-defined types: specialize serializer<T> with save and load.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <forkmap/detail/serialize/codec.hpp>  // writer::put, reader::get
#include <forkmap/writer.hpp>                  // writer, reader, serializer
