# The CUDA part: a library of its own, `_cuda.so` beside `_core`, which is opened when a GPU is asked for. It needs a
# compiler (nvcc) to be built and no GPU.
set(STYLOGRAM_CUDA AUTO CACHE STRING "Build the CUDA kernels: AUTO (where nvcc is found), ON or OFF")
set_property(CACHE STYLOGRAM_CUDA PROPERTY STRINGS AUTO ON OFF)
# A wheel runs on all GPUs since Turing, and as PTX on later ones. An editable build is for trying: PTX alone, which the
# driver compiles when it is first run, and which takes the compiler a tenth of the time.
set(stylogram_architectures "75-real;80-real;86-real;89-real;90-real;100-real;120")
if(SKBUILD_STATE STREQUAL "editable")
  set(stylogram_architectures "80-virtual")
endif()
set(STYLOGRAM_CUDA_ARCHITECTURES "${stylogram_architectures}" CACHE STRING
    "Compute capabilities of the CUDA kernels: 90-real is machine code, 90-virtual PTX, 90 both")

if(NOT STYLOGRAM_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "STYLOGRAM_CUDA: AUTO, ON or OFF is accepted, got ${STYLOGRAM_CUDA}")
endif()
target_link_libraries(stylogram_kernels PUBLIC ${CMAKE_DL_LIBS})

set(stylogram_with_cuda OFF)
if(NOT STYLOGRAM_CUDA STREQUAL OFF)
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(stylogram_with_cuda ON)
  elseif(STYLOGRAM_CUDA STREQUAL ON)
    message(FATAL_ERROR "STYLOGRAM_CUDA=ON needs nvcc, which is not found; CMAKE_CUDA_COMPILER says where it is")
  endif()
endif()

if(stylogram_with_cuda)
  set(CMAKE_CUDA_ARCHITECTURES ${STYLOGRAM_CUDA_ARCHITECTURES})
  enable_language(CUDA)
  file(GLOB_RECURSE cuda_kernels CONFIGURE_DEPENDS csrc/*.cu)
  add_library(stylogram_cuda MODULE ${cuda_kernels})
  set_target_properties(stylogram_cuda PROPERTIES
    PREFIX "" OUTPUT_NAME _cuda
    CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON
    CUDA_RUNTIME_LIBRARY Static
    CUDA_VISIBILITY_PRESET hidden)
  target_include_directories(stylogram_cuda PRIVATE csrc)
  target_compile_options(stylogram_cuda PRIVATE
    -Xcompiler=-Wall,-Wextra $<$<BOOL:${STYLOGRAM_WERROR}>:-Werror=all-warnings> --threads=2)
  install(TARGETS stylogram_cuda LIBRARY DESTINATION stylogram)
endif()
