// anywidget waits two seconds for a widget's script, and then drops all messages to that widget, for
// ever. On a busy machine the script comes later: hear them all the same. anyModel: a model as
// JupyterLab has it; those that are made after this are mended.
function hearLateOnes(anyModel) {
  const prototype = anyModel?.constructor?.prototype;
  const hear = prototype?._handle_comm_msg;
  if (!hear || prototype.clipftHears) return;
  prototype.clipftHears = true;
  prototype._handle_comm_msg = async function (...message) {
    try {
      return await hear.apply(this, message);
    } catch (error) {
      if (!String(error).includes("Failed to initialize model")) throw error;
      return Object.getPrototypeOf(prototype)._handle_comm_msg.apply(this, message);
    }
  };
}
