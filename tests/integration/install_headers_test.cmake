# cmake -DINCLUDE=… -DCOMPILERS=…;… -P install_headers_test.cmake
# Each public header compiles alone without a warning: as C++17, and what is for C as C99, too.

file(GLOB_RECURSE headers RELATIVE ${INCLUDE}/refork ${INCLUDE}/refork/*.hpp ${INCLUDE}/refork/*.h)
if(NOT headers)
  message(FATAL_ERROR "no header in ${INCLUDE}/refork")
endif()
foreach(compiler IN LISTS COMPILERS)
  foreach(header IN LISTS headers)
    # As a user has it: included, not compiled itself, and twice.
    file(WRITE ${SCRATCH}/header.txt "#include <refork/${header}>\n#include <refork/${header}>\nextern int not_empty;\n")
    set(modes c++17)
    if(header MATCHES "\\.h$")
      list(APPEND modes c99)
    endif()
    foreach(mode IN LISTS modes)
      string(REGEX REPLACE "[0-9]+" "" language ${mode})
      execute_process(COMMAND ${compiler} -x ${language} -std=${mode} -Wall -Wextra -Wpedantic -Werror -fsyntax-only
                              -I${INCLUDE} ${SCRATCH}/header.txt
                      RESULT_VARIABLE result ERROR_VARIABLE output)
      if(NOT result EQUAL 0)
        message(SEND_ERROR "${compiler} -std=${mode} <refork/${header}>:\n${output}")
      endif()
    endforeach()
  endforeach()
endforeach()
