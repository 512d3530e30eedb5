"""Writes static stand-ins for NVIDIA's libraries: every function of them opens the real library when
it is first called, and where there is none says that there is no device. So a program that is built
for CUDA starts on a machine without a driver, and computes on the CPU there.

    stand_ins.py CUDA_HOME FOLDER    makes FOLDER/libcuda.a and its like; for x86-64
"""

import pathlib
import re
import subprocess
import sys

# The name to link with; the library to open; the prefix of its functions; and the status that they
# give where it is not there: CUDA_ERROR_NO_DEVICE, CUBLAS_STATUS_NOT_INITIALIZED (twice),
# CURAND_STATUS_INITIALIZATION_FAILED, NVRTC_ERROR_INTERNAL_ERROR. Each is one that the bindings know.
LIBRARIES = [
    ("cuda", "libcuda.so.1", "cu[A-Z]", 100),
    ("cublas", "libcublas.so.13", "cublas[A-Z]", 1),
    ("cublasLt", "libcublasLt.so.13", "cublasLt[A-Z]", 1),
    ("curand", "libcurand.so.10", "curand[A-Z]", 203),
    ("nvrtc", "libnvrtc.so.13", "nvrtc[A-Z]", 11),
]

# How the words for an error are asked for: the only answer that must be more than a status.
TEXTS = ("cuGetErrorString", "cuGetErrorName")

SOURCE = r"""
#include <dlfcn.h>
#include <stddef.h>

__attribute__((visibility("hidden"))) void *@NAME@_found[@COUNT@];
static const char *const names[] = { @NAMES@ };

static int absent(void) { return @STATUS@; }

static int absent_text(int status, const char **text) {
  (void)status;
  *text = "@LIBRARY@ is not on this machine";
  return 0;
}

/* Two threads may look at once: they find the same. */
__attribute__((visibility("hidden"))) void *@NAME@_find(size_t at) {
  void *library = dlopen("@LIBRARY@", RTLD_NOW | RTLD_GLOBAL);
  void *found = library ? dlsym(library, names[at]) : NULL;
  if (!found) found = @TEXTS@ ? (void *)absent_text : (void *)absent;
  @NAME@_found[at] = found;
  return found;
}

/* The arguments are kept while the function is looked for; none takes a variable number of them. */
__asm__(
  ".text\n"
  "@NAME@_look:\n"
  "  pushq %rdi\n  pushq %rsi\n  pushq %rdx\n  pushq %rcx\n  pushq %r8\n  pushq %r9\n"
  "  subq $128, %rsp\n"
  "  movups %xmm0, (%rsp)\n  movups %xmm1, 16(%rsp)\n  movups %xmm2, 32(%rsp)\n"
  "  movups %xmm3, 48(%rsp)\n  movups %xmm4, 64(%rsp)\n  movups %xmm5, 80(%rsp)\n"
  "  movups %xmm6, 96(%rsp)\n  movups %xmm7, 112(%rsp)\n"
  "  movq 176(%rsp), %rdi\n"
  "  call @NAME@_find\n"
  "  movq %rax, %r11\n"
  "  movups (%rsp), %xmm0\n  movups 16(%rsp), %xmm1\n  movups 32(%rsp), %xmm2\n"
  "  movups 48(%rsp), %xmm3\n  movups 64(%rsp), %xmm4\n  movups 80(%rsp), %xmm5\n"
  "  movups 96(%rsp), %xmm6\n  movups 112(%rsp), %xmm7\n"
  "  addq $128, %rsp\n"
  "  popq %r9\n  popq %r8\n  popq %rcx\n  popq %rdx\n  popq %rsi\n  popq %rdi\n"
  "  addq $8, %rsp\n"
  "  jmp *%r11\n"
  @FUNCTIONS@
);
"""

FUNCTION = (
    r'".globl {name}\n.type {name}, @function\n{name}:\n'
    r"  movq {library}_found+{place}(%rip), %r11\n  testq %r11, %r11\n  jz 1f\n  jmp *%r11\n"
    r'1: pushq ${at}\n  jmp {library}_look\n"'
)


def functions(home, name, library, prefix):
    """The names of the functions: those that the header mentions where the library itself comes with
    the driver, else those that it exports."""
    if name == "cuda":
        words = (home / "include/cuda.h").read_text()
    else:
        shown = subprocess.run(
            ["nm", "--dynamic", "--defined-only", home / "lib" / library],
            check=True, capture_output=True, text=True,
        )
        words = shown.stdout
    return sorted(set(re.findall(rf"\b{prefix}\w*", words)))


def source(name, library, status, names):
    lines = [
        FUNCTION.format(name=one, library=name, place=8 * at, at=at)
        for at, one in enumerate(names)
    ]
    texts = [f"at == {names.index(text)}" for text in TEXTS if text in names]
    values = {
        "NAMES": ", ".join(f'"{one}"' for one in names),
        "FUNCTIONS": "\n  ".join(lines),
        "TEXTS": f"({' || '.join(texts)})" if texts else "0",
        "COUNT": str(len(names)),
        "NAME": name,
        "LIBRARY": library,
        "STATUS": str(status),
    }
    text = SOURCE
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def main():
    home, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name, library, prefix, status in LIBRARIES:
        names = functions(home, name, library, prefix)
        assert len(names) > 10, f"{library}: only {names}"
        written, built = folder / f"{name}.c", folder / f"{name}.o"
        written.write_text(source(name, library, status, names))
        # An unused function may stand in a source that is the same for all.
        compiler = ["cc", "-O2", "-fPIC", "-Wno-unused-function", "-c", written, "-o", built]
        subprocess.run(compiler, check=True)
        archive = folder / f"lib{name}.a"
        archive.unlink(missing_ok=True)
        subprocess.run(["ar", "rcs", archive, built], check=True)
        print(f"{archive.name}: {len(names)} functions of {library}")


main()
