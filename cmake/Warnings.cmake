# Warnings are errors, on g++ and clang++. Linked by everything that is compiled here, installed by nothing.
add_library(refork_warnings INTERFACE)
target_compile_options(refork_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Werror -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Wcast-qual
  -Wconversion -Wsign-conversion -Wimplicit-fallthrough -Wnull-dereference)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees null dereferences inside libstdc++ and sanitizer instrumentation that are not there.
  target_compile_options(refork_warnings INTERFACE -Wno-null-dereference -Wduplicated-cond -Wlogical-op)
  if(REFORK_SANITIZE)
    target_compile_options(refork_warnings INTERFACE -Wno-maybe-uninitialized)
  endif()
endif()

# The same for C.
add_library(refork_c_warnings INTERFACE)
target_compile_options(refork_c_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Werror -Wshadow -Wcast-qual -Wconversion -Wsign-conversion -Wstrict-prototypes
  -Wmissing-prototypes -Wimplicit-fallthrough)
