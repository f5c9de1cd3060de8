/* Completes a prompt with an export, in C: the signature `complete` by TensorFlow's C API.

     complete EXPORT PROMPT MAX_NEW_TOKENS [LIBRARY ...]

   docs/deploy.md says how to build it, and which exports need a library of operations. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tensorflow/c/c_api.h"

static TF_Status* status;

static void check(const char* what) {
  if (TF_GetCode(status) == TF_OK) return;
  fprintf(stderr, "%s: %s\n", what, TF_Message(status));
  exit(1);
}

static TF_Output placeholder(TF_Graph* graph, const char* name) {
  TF_Output output = {TF_GraphOperationByName(graph, name), 0};
  if (output.oper) return output;
  fprintf(stderr, "%s: the export has no such input; export the model anew\n", name);
  exit(1);
}

int main(int argc, char** argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: %s EXPORT PROMPT MAX_NEW_TOKENS [LIBRARY ...]\n", argv[0]);
    return 2;
  }
  status = TF_NewStatus();
  for (int i = 4; i < argc; i++) {
    TF_LoadLibrary(argv[i], status);
    check(argv[i]);
  }
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  const char* tags[] = {"serve"};
  TF_Session* session =
      TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  check(argv[1]);

  /* Inputs are named {signature}_{argument}; what reads them is the signature's own call. */
  TF_Output inputs[] = {placeholder(graph, "complete_prompts"),
                        placeholder(graph, "complete_max_new_tokens")};
  TF_Input reader;
  TF_OperationOutputConsumers(inputs[0], &reader, 1);
  TF_Output text = {reader.oper, 0};

  int64_t one = 1;
  TF_Tensor* prompts = TF_AllocateTensor(TF_STRING, &one, 1, sizeof(TF_TString));
  TF_StringInit(TF_TensorData(prompts));
  TF_StringCopy(TF_TensorData(prompts), argv[2], strlen(argv[2]));
  TF_Tensor* max_new_tokens = TF_AllocateTensor(TF_INT32, NULL, 0, sizeof(int32_t));
  *(int32_t*)TF_TensorData(max_new_tokens) = atoi(argv[3]);

  TF_Tensor* values[] = {prompts, max_new_tokens};
  TF_Tensor* completions;
  TF_SessionRun(session, NULL, inputs, values, 2, &text, &completions, 1, NULL, 0, NULL, status);
  check("complete");
  const TF_TString* completion = TF_TensorData(completions);
  fwrite(TF_StringGetDataPointer(completion), 1, TF_StringGetSize(completion), stdout);

  TF_DeleteTensor(completions);
  TF_DeleteTensor(max_new_tokens);
  TF_DeleteTensor(prompts);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
