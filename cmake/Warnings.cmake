# Warnings are errors, in C++ and in C, on GCC and clang. Linked by everything that is compiled here, installed by nothing.
add_library(refork_warnings INTERFACE)
target_compile_options(refork_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Werror -Wshadow $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>
  $<$<COMPILE_LANGUAGE:CXX>:-Wold-style-cast> $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes> -Wcast-qual
  -Wconversion -Wsign-conversion -Wimplicit-fallthrough -Wnull-dereference)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees null dereferences inside libstdc++ and sanitizer instrumentation that are not there.
  target_compile_options(refork_warnings INTERFACE -Wno-null-dereference -Wduplicated-cond -Wlogical-op)
  if(REFORK_SANITIZE)
    target_compile_options(refork_warnings INTERFACE -Wno-maybe-uninitialized)
  endif()
endif()
