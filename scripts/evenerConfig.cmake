# For find_package(evener): the target evener::evener and the libraries that it links.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(CLBlast)
find_dependency(PkgConfig)
pkg_check_modules(OPENCL REQUIRED IMPORTED_TARGET OpenCL)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
include(${CMAKE_CURRENT_LIST_DIR}/evenerTargets.cmake)
