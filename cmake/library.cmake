# libstylogram, for C and C++: `cmake -S . -B build/cpp -DSTYLOGRAM_LIBRARY=ON`. Needs neither Python nor ONNX Runtime;
# where CMake finds the latter, the library remembers its place.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

file(STRINGS pyproject.toml version_line REGEX "^version = " LIMIT_COUNT 1)
string(REGEX REPLACE "^version = \"(.*)\"$" "\\1" STYLOGRAM_VERSION "${version_line}")

find_package(onnxruntime CONFIG QUIET)
set(found_onnxruntime "")
if(TARGET onnxruntime::onnxruntime)
  get_target_property(found_onnxruntime onnxruntime::onnxruntime LOCATION)
endif()
set(STYLOGRAM_ONNXRUNTIME "${found_onnxruntime}" CACHE FILEPATH "ONNX Runtime's library, if the program names none")

file(GLOB runtime CONFIGURE_DEPENDS csrc/runtime/*.cpp)
add_library(stylogram SHARED ${runtime})
add_library(stylogram::stylogram ALIAS stylogram)
target_include_directories(stylogram PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                            $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_include_directories(stylogram PRIVATE csrc)
target_include_directories(stylogram SYSTEM PRIVATE third_party)
target_compile_features(stylogram PUBLIC cxx_std_17)
target_compile_options(stylogram PRIVATE ${warnings})
target_compile_definitions(stylogram PRIVATE STYLOGRAM_VERSION="${STYLOGRAM_VERSION}"
                                             STYLOGRAM_FOUND_ONNXRUNTIME="${STYLOGRAM_ONNXRUNTIME}")
# The objects themselves: a program that links the library needs to know nothing of them.
target_link_libraries(stylogram PRIVATE $<BUILD_INTERFACE:stylogram_kernels> Threads::Threads ${CMAKE_DL_LIBS})
set_target_properties(stylogram_kernels stylogram PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
set_target_properties(stylogram PROPERTIES VERSION ${STYLOGRAM_VERSION} SOVERSION 0)
# Another copy of the kernels may be in the process, in Python's module: each uses its own.
include(CheckLinkerFlag)
check_linker_flag(CXX -Wl,-Bsymbolic STYLOGRAM_HAS_BSYMBOLIC)
if(STYLOGRAM_HAS_BSYMBOLIC)
  target_link_options(stylogram PRIVATE -Wl,-Bsymbolic)
endif()

install(TARGETS stylogram EXPORT stylogramTargets)
install(DIRECTORY include/stylogram TYPE INCLUDE)
install(EXPORT stylogramTargets NAMESPACE stylogram:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/stylogram)
configure_package_config_file(cmake/stylogramConfig.cmake.in stylogramConfig.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/stylogram)
write_basic_package_version_file(stylogramConfigVersion.cmake VERSION ${STYLOGRAM_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/stylogramConfig.cmake ${PROJECT_BINARY_DIR}/stylogramConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/stylogram)

option(STYLOGRAM_TESTS "Build the tests of the C and C++ library (needs GoogleTest)" OFF)
if(STYLOGRAM_TESTS)
  enable_testing()
  add_subdirectory(tests/cpp)
endif()
