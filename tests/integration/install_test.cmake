# cmake -DBUILD=… -DSOURCE=… -DSCRATCH=… -DCC=… -DCXX=… -P install_test.cmake
# Installs librefork into a prefix, builds a project outside the tree against it in four ways, and runs what comes out; and
# builds the example of the README.

function(run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${what} failed (${result}):\n${ARGN}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

function(expect_shared program shared)
  run("look at ${program}" readelf -d ${program})
  string(FIND "${output}" "librefork.so.0" at)
  if(shared AND at EQUAL -1)
    message(FATAL_ERROR "${program} does not name librefork.so.0:\n${output}")
  elseif(NOT shared AND NOT at EQUAL -1)
    message(FATAL_ERROR "${program} needs librefork.so though it was to be static")
  endif()
endfunction()

set(prefix ${SCRATCH}/prefix)
file(REMOVE_RECURSE ${SCRATCH})
run("install" ${CMAKE_COMMAND} --install ${BUILD} --component librefork --prefix ${prefix})

# A prefix that was moved must work, too: packagers install into a staging directory.
file(RENAME ${prefix} ${SCRATCH}/moved)
set(prefix ${SCRATCH}/moved)

run("configure with find_package" ${CMAKE_COMMAND} -S ${SOURCE}/tests/integration/install_project -B ${SCRATCH}/cmake
    -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_CXX_COMPILER=${CXX} "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Werror")
run("build with find_package" ${CMAKE_COMMAND} --build ${SCRATCH}/cmake)
run("run with find_package, shared" ${SCRATCH}/cmake/with_shared)
run("run with find_package, static" ${SCRATCH}/cmake/with_static)
expect_shared(${SCRATCH}/cmake/with_shared TRUE)
expect_shared(${SCRATCH}/cmake/with_static FALSE)

file(GLOB_RECURSE pc ${prefix}/*/refork.pc)
get_filename_component(pc_dir "${pc}" DIRECTORY)
get_filename_component(lib_dir "${pc_dir}" DIRECTORY)
set(ENV{PKG_CONFIG_PATH} ${pc_dir})
set(main ${SOURCE}/tests/integration/install_project/main.cc)

run("pkg-config" pkg-config --cflags --libs refork)
separate_arguments(flags UNIX_COMMAND "${output}")
run("build with pkg-config" ${CXX} -std=c++17 ${main} -o ${SCRATCH}/pc_shared ${flags} -Wl,-rpath,${lib_dir})
run("run with pkg-config, shared" ${SCRATCH}/pc_shared)
expect_shared(${SCRATCH}/pc_shared TRUE)

run("pkg-config --static" pkg-config --static --cflags --libs refork)
separate_arguments(flags UNIX_COMMAND "${output}")
run("build with pkg-config, static" ${CXX} -std=c++17 -static ${main} -o ${SCRATCH}/pc_static ${flags})
run("run with pkg-config, static" ${SCRATCH}/pc_static)
expect_shared(${SCRATCH}/pc_static FALSE)

# A program in C, by a C compiler.
set(main ${SOURCE}/tests/integration/install_project/main_c.c)
run("pkg-config" pkg-config --cflags --libs refork)
separate_arguments(flags UNIX_COMMAND "${output}")
run("build C with pkg-config" ${CC} -std=c99 -Wall -Wextra -Wpedantic -Werror ${main} -o ${SCRATCH}/pc_c ${flags}
    -Wl,-rpath,${lib_dir})
run("run C with pkg-config" ${SCRATCH}/pc_c)

# The README's example, built by the README's command.
file(READ ${SOURCE}/README.md readme)
string(REGEX MATCH "```cpp[^\n]*\n([^`]*)```" found "${readme}")
if(NOT found)
  message(FATAL_ERROR "README.md has no C++ example")
endif()
file(WRITE ${SCRATCH}/server.cc "${CMAKE_MATCH_1}")
run("pkg-config with cpp-httplib" pkg-config --cflags --libs refork cpp-httplib)
separate_arguments(flags UNIX_COMMAND "${output}")
run("build the README's example" ${CXX} -std=c++17 ${SCRATCH}/server.cc -o ${SCRATCH}/server ${flags} -Wl,-rpath,${lib_dir})
