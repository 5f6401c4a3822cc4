# forkmap::compiled: a static library of what forkmap::forkmap's users would compile themselves in each
# file. It is compiled in the project that uses it, with that project's flags, if a target links it.
#
# forkmap_add_compiled(<path of detail/forkmap.cpp>)
function(forkmap_add_compiled source)
  if(TARGET forkmap_compiled)
    return()
  endif()
  add_library(forkmap_compiled STATIC EXCLUDE_FROM_ALL "${source}")
  add_library(forkmap::compiled ALIAS forkmap_compiled)
  target_link_libraries(forkmap_compiled PUBLIC forkmap::forkmap)
  target_compile_definitions(forkmap_compiled INTERFACE FORKMAP_COMPILED)
endfunction()
