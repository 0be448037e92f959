//! `#[workflow]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{ItemFn, LitStr, Result};

use crate::options::WorkflowOptions;
use crate::signature::{Parts, parts};

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let options = WorkflowOptions::parse(options)?;
    let function: ItemFn = syn::parse2(item)?;
    let Parts { input, output, pattern, arguments } = parts(&function.sig, "WorkflowContext", false)?;
    let ItemFn { attrs, vis, sig, block, .. } = &function;
    let (ident, parameters) = (&sig.ident, &sig.inputs);
    let name = options.name.unwrap_or_else(|| LitStr::new(&ident.to_string(), ident.span()));
    let queue = options.queue.unwrap_or_else(|| LitStr::new("default", ident.span()));
    Ok(quote! {
        #(#attrs)*
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug)]
        #vis struct #ident;

        impl #ident {
            /// The workflow's code itself.
            #[allow(clippy::unused_async)]
            #vis async fn call(#parameters) -> #output #block
        }

        impl ::stepwell::WorkflowDefinition for #ident {
            type Input = #input;
            type Output = <#output as ::stepwell::__private::Returned>::Value;
            const NAME: &'static str = #name;
            const QUEUE: &'static str = #queue;

            async fn run(
                context: ::stepwell::WorkflowContext,
                #pattern: Self::Input,
            ) -> ::core::result::Result<Self::Output, ::stepwell::WorkflowError> {
                ::core::result::Result::map_err(
                    Self::call(context, #(#arguments),*).await,
                    ::core::convert::Into::into,
                )
            }
        }
    })
}
